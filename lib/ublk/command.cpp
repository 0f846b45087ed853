#include "ublk/command.hpp"

namespace xenpv::ublk {
namespace {

// The encoding of <asm-generic/ioctl.h>.
constexpr std::uint32_t ioc_write = 1;
constexpr std::uint32_t ioc_read = 2;
constexpr std::uint32_t ublk_type = 'u';

constexpr std::uint32_t encode(std::uint32_t direction, std::uint32_t number, std::size_t size) {
  return direction << 30U | static_cast<std::uint32_t>(size) << 16U | ublk_type << 8U | number;
}

constexpr bool only_reads(control_command command) {
  return command == control_command::get_dev_info || command == control_command::get_params ||
         command == control_command::get_features || command == control_command::del_dev_async;
}

}  // namespace

std::string_view to_string(control_command command) noexcept {
  switch (command) {
    case control_command::get_dev_info:
      return "GET_DEV_INFO";
    case control_command::add_dev:
      return "ADD_DEV";
    case control_command::del_dev:
      return "DEL_DEV";
    case control_command::start_dev:
      return "START_DEV";
    case control_command::stop_dev:
      return "STOP_DEV";
    case control_command::set_params:
      return "SET_PARAMS";
    case control_command::get_params:
      return "GET_PARAMS";
    case control_command::start_user_recovery:
      return "START_USER_RECOVERY";
    case control_command::end_user_recovery:
      return "END_USER_RECOVERY";
    case control_command::get_features:
      return "GET_FEATURES";
    case control_command::del_dev_async:
      return "DEL_DEV_ASYNC";
    case control_command::update_size:
      return "UPDATE_SIZE";
  }
  return "unknown command";
}

std::uint32_t opcode(control_command command) noexcept {
  return encode(only_reads(command) ? ioc_read : ioc_read | ioc_write,
                static_cast<std::uint32_t>(command), sizeof(ctrl_cmd));
}

std::uint32_t opcode(io_command command) noexcept {
  return encode(ioc_read | ioc_write, static_cast<std::uint32_t>(command), sizeof(io_cmd));
}

std::string to_string(device_state state) {
  switch (state) {
    case device_state::dead:
      return "dead";
    case device_state::live:
      return "live";
    case device_state::quiesced:
      return "quiesced";
    case device_state::fail_io:
      return "fail_io";
  }
  return "state " + std::to_string(static_cast<unsigned>(state));
}

}  // namespace xenpv::ublk
