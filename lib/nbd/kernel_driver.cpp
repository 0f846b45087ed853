#include "xenpv/nbd/kernel_driver.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "nbd/codec_driver.hpp"
#include "nbd/kernel_device.hpp"
#include "nbd/netlink_socket.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

constexpr auto find_driver = "find the kernel NBD driver";

std::string remedy_for(const netlink_refusal& refusal, std::optional<std::uint32_t> index) {
  switch (refusal.error) {
    case EPERM:
      return "CAP_SYS_ADMIN is needed; are you root?";
    case EBUSY:
      if (index) return fmt::format("it is in use; see /sys/block/nbd{}/pid", *index);
      break;
    case ENOSPC:
    case ENOMEM:
    case EEXIST:
      return "the kernel could not create another device; load its module nbd with a larger "
             "nbds_max";
    case EINVAL:
      if (refusal.why.empty() && index)
        return fmt::format(
            "no such device, or not connected; see /sys/block/nbd{}, or load the module nbd with a "
            "larger nbds_max",
            *index);
      break;
    default:
      break;
  }
  return refusal.why;
}

[[noreturn]] void throw_refused(const netlink_refusal& refusal, std::string_view action,
                                std::optional<std::uint32_t> index) {
  throw_errno(refusal.error, action, remedy_for(refusal, index));
}

netlink_family find_family(netlink_socket& socket) {
  std::vector<netlink_answer> answers;
  const auto request = encode_family_request(socket.next_sequence(), NBD_GENL_FAMILY_NAME);
  const auto refusal = socket.ask(request, find_driver, answers);
  if (refusal && refusal->error == ENOENT)
    throw failure(make_error_code(errc::not_available), find_driver,
                  "its module is not loaded; as root: modprobe nbd");
  if (refusal) throw_refused(*refusal, find_driver, std::nullopt);
  if (answers.empty())
    throw failure(make_error_code(errc::protocol_violation), find_driver, "no family in the reply");
  return decode_family(answers.front().attributes, NBD_GENL_MCAST_GROUP_NAME).value();
}

driver_request request_for(const kernel_device_config& config) {
  driver_request out;
  out.index = config.index;
  out.size = config.size;
  out.block_size = config.block_size;
  out.server_flags = config.flags;
  // Omitted, not 0: Linux before 5.9 treats an explicit 0 as an immediate timeout.
  if (config.timeout.count() > 0) out.timeout = static_cast<std::uint64_t>(config.timeout.count());
  if (config.dead_timeout.count() > 0)
    out.dead_timeout = static_cast<std::uint64_t>(config.dead_timeout.count());
  out.sockets = config.sockets;
  out.identifier = config.identifier;
  return out;
}

std::optional<std::uint64_t> seconds_in(const std::optional<std::chrono::seconds>& time) {
  if (!time) return std::nullopt;
  return static_cast<std::uint64_t>(time->count());
}

}  // namespace

struct kernel_driver::state {
  state(unique_fd first, unique_fd second)
      : commands(std::move(first)), notices(std::move(second)), family(find_family(commands)) {
    if (notices.get() >= 0 && family.group && !notices.join(*family.group))
      log().debug("no notifications from the kernel NBD driver: {}", describe_errno(errno));
  }

  /// Throws if the driver refuses the request. `action` names the operation and the device.
  std::vector<netlink_answer> ask(driver_command command, const driver_request& request,
                                  std::string_view action) {
    std::vector<netlink_answer> answers;
    if (const auto refusal = try_ask(command, request, action, answers))
      throw_refused(*refusal, action, request.index);
    return answers;
  }
  std::optional<netlink_refusal> try_ask(driver_command command, const driver_request& request,
                                         std::string_view action,
                                         std::vector<netlink_answer>& answers) {
    const auto message =
        encode_driver_request(family.id, command, commands.next_sequence(), request);
    return commands.ask(message, action, answers);
  }

  netlink_socket commands;
  netlink_socket notices;
  netlink_family family;
  std::string identifier;  ///< of the current device; the kernel requires it for changes
  std::shared_ptr<kernel_delegate> delegate;
};

kernel_driver kernel_driver::open() {
  // Two sockets, so that notifications cannot arrive between a request and its reply.
  auto commands = open_generic_netlink();
  return {std::move(commands), open_generic_netlink()};
}

kernel_driver::kernel_driver(unique_fd commands, unique_fd notices)
    : state_(std::make_unique<state>(std::move(commands), std::move(notices))) {}

kernel_driver::kernel_driver(kernel_driver&&) noexcept = default;
kernel_driver& kernel_driver::operator=(kernel_driver&&) noexcept = default;
kernel_driver::~kernel_driver() = default;

std::uint32_t kernel_driver::connect(const kernel_device_config& config) {
  if (state_->delegate) return state_->delegate->connect(config);
  const auto action = config.index ? fmt::format("connect {}", kernel_device_path(*config.index))
                                   : std::string("connect a kernel NBD device");
  auto request = request_for(config);
  std::vector<netlink_answer> answers;
  auto refusal = state_->try_ask(driver_command::connect, request, action, answers);
  if (refusal && refusal->error == EINVAL && !request.identifier.empty()) {
    // Kernels before 5.14 that validate attributes strictly refuse this unknown attribute.
    request.identifier.clear();
    answers.clear();
    refusal = state_->try_ask(driver_command::connect, request, action, answers);
  }
  if (refusal) throw_refused(*refusal, action, config.index);
  if (answers.empty() && !config.index)
    throw failure(make_error_code(errc::protocol_violation), action, "no device number");
  state_->identifier = request.identifier;
  return answers.empty() ? *config.index : decode_index(answers.front().attributes).value();
}

void kernel_driver::adopt(std::string identifier) {
  state_->identifier = std::move(identifier);
}

void kernel_driver::use(std::shared_ptr<kernel_delegate> delegate) noexcept {
  state_->delegate = std::move(delegate);
}

kernel_delegate* kernel_driver::delegate() const noexcept {
  return state_->delegate.get();
}

void kernel_driver::resize(std::uint32_t index, std::uint64_t size, std::uint32_t block_size) {
  if (state_->delegate) return state_->delegate->resize(size, block_size);
  driver_request request;
  request.index = index;
  request.size = size;
  request.block_size = block_size;
  request.identifier = state_->identifier;
  const auto action = fmt::format("resize {} to {} bytes", kernel_device_path(index), size);
  (void)state_->ask(driver_command::reconfigure, request, action);
}

void kernel_driver::replace_sockets(std::uint32_t index, const std::vector<int>& sockets,
                                    const device_timeouts& timeouts) {
  if (state_->delegate) return state_->delegate->replace_sockets(sockets, timeouts);
  driver_request request;
  request.timeout = seconds_in(timeouts.request);
  request.dead_timeout = seconds_in(timeouts.dead);
  request.index = index;
  request.sockets = sockets;
  request.identifier = state_->identifier;
  const auto action = fmt::format("replace the sockets of {}", kernel_device_path(index));
  (void)state_->ask(driver_command::reconfigure, request, action);
}

void kernel_driver::disconnect(std::uint32_t index) {
  if (state_->delegate) return state_->delegate->disconnect();
  driver_request request;
  request.index = index;
  const auto action = fmt::format("disconnect {}", kernel_device_path(index));
  (void)state_->ask(driver_command::disconnect, request, action);
}

std::optional<bool> kernel_driver::is_connected(std::uint32_t index) {
  if (state_->delegate) return state_->delegate->is_connected();
  driver_request request;
  request.index = index;
  const auto action = fmt::format("query the state of {}", kernel_device_path(index));
  const auto answers = state_->ask(driver_command::status, request, action);
  if (answers.empty())
    throw failure(make_error_code(errc::protocol_violation), action, "empty reply");
  const auto list = decode_status(answers.front().attributes).value();
  for (const auto& device : list)
    if (device.index == index) return device.connected;
  return std::nullopt;
}

int kernel_driver::notices() const noexcept {
  return state_->notices.get();
}

bool kernel_driver::take_dead_links(std::vector<std::uint32_t>& devices) {
  const auto received = state_->notices.take_notices();
  if (!received) return false;
  for (const auto& notice : *received) {
    if (notice.type != state_->family.id ||
        notice.command != static_cast<std::uint8_t>(driver_command::link_dead))
      continue;
    if (const auto index = decode_index(notice.attributes)) devices.push_back(*index);
  }
  return true;
}

}  // namespace xenpv::nbd
