// The commands of the kernel's ublk driver: structures and constants of its user-space interface,
// and the encoding of operations, positions and sizes. No behaviour and no I/O.
//
// Declared here because the kernel headers of Debian 12 (Linux 6.1) lack the commands of later
// kernels. Source: Linux, include/uapi/linux/ublk_cmd.h, with the same names. Integers have host
// byte order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace xenpv::ublk {

/// Control commands, sent to /dev/ublk-control. The values are the numbers within the ioctl codes.
enum class control_command : std::uint8_t {
  get_dev_info = 0x02,
  add_dev = 0x04,
  start_dev = 0x06,
  stop_dev = 0x07,
  set_params = 0x08,
  get_params = 0x09,
  start_user_recovery = 0x10,
  end_user_recovery = 0x11,
  get_features = 0x13,   ///< Linux 6.5
  del_dev_async = 0x14,  ///< Linux 6.9
  update_size = 0x15,    ///< UBLK_F_UPDATE_SIZE
  del_dev = 0x05,
};
/// "ADD_DEV", ...
[[nodiscard]] std::string_view to_string(control_command command) noexcept;
/// The ioctl-encoded command, such as UBLK_U_CMD_ADD_DEV.
[[nodiscard]] std::uint32_t opcode(control_command command) noexcept;

/// Commands of a queue, sent to /dev/ublkcN.
enum class io_command : std::uint8_t {
  fetch_req = 0x20,             ///< hands a tag to the kernel
  commit_and_fetch_req = 0x21,  ///< completes the tag's request and hands the tag back
};
/// The ioctl-encoded command, such as UBLK_U_IO_FETCH_REQ.
[[nodiscard]] std::uint32_t opcode(io_command command) noexcept;

/// Features of a device or of the driver (UBLK_F_*).
inline constexpr std::uint64_t f_user_recovery = 1U << 3;
inline constexpr std::uint64_t f_user_recovery_reissue = 1U << 4;
inline constexpr std::uint64_t f_unprivileged_dev = 1U << 5;
inline constexpr std::uint64_t f_cmd_ioctl_encode = 1U << 6;
inline constexpr std::uint64_t f_user_copy = 1U << 7;
inline constexpr std::uint64_t f_update_size = 1U << 10;

/// The state of a device (UBLK_S_DEV_*).
enum class device_state : std::uint16_t {
  dead = 0,      ///< not started, or stopped
  live = 1,      ///< served
  quiesced = 2,  ///< its server has ended; requests wait for the next one
  fail_io = 3,   ///< its server has ended; requests fail
};
/// "dead", ...; "state 9" for an unknown one.
[[nodiscard]] std::string to_string(device_state state);

/// The results with which the kernel completes a FETCH_REQ or COMMIT_AND_FETCH_REQ.
inline constexpr std::int32_t io_res_ok = 0;       ///< the tag has a request
inline constexpr std::int32_t io_res_abort = -19;  ///< -ENODEV: the device is being stopped

inline constexpr std::uint16_t no_queue = 0xFFFF;         ///< the command is not for a queue
inline constexpr std::uint32_t any_device = 0xFFFF'FFFF;  ///< the kernel chooses the number
inline constexpr std::uint16_t max_queue_depth = 4096;
inline constexpr std::uint32_t max_io_bytes = 32U << 20U;  ///< of one request
inline constexpr std::uint64_t sector_bytes = 512;         ///< the driver's unit

/// struct ublksrv_ctrl_cmd, in the second half of a submission entry of 128 bytes.
struct ctrl_cmd {
  std::uint32_t dev_id = any_device;
  std::uint16_t queue_id = no_queue;
  std::uint16_t len = 0;   ///< of the buffer
  std::uint64_t addr = 0;  ///< of the buffer
  std::uint64_t data = 0;  ///< an argument
  std::uint16_t dev_path_len = 0;
  std::uint16_t pad = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(ctrl_cmd) == 32 && std::is_trivially_copyable_v<ctrl_cmd>);
static_assert(offsetof(ctrl_cmd, dev_id) == 0 && offsetof(ctrl_cmd, queue_id) == 4);
static_assert(offsetof(ctrl_cmd, len) == 6 && offsetof(ctrl_cmd, addr) == 8);
static_assert(offsetof(ctrl_cmd, data) == 16 && offsetof(ctrl_cmd, dev_path_len) == 24);
static_assert(offsetof(ctrl_cmd, pad) == 26 && offsetof(ctrl_cmd, reserved) == 28);

/// struct ublksrv_ctrl_dev_info.
struct dev_info {
  std::uint16_t nr_hw_queues = 0;
  std::uint16_t queue_depth = 0;
  device_state state = device_state::dead;
  std::uint16_t pad0 = 0;
  std::uint32_t max_io_buf_bytes = 0;
  std::uint32_t dev_id = any_device;
  std::int32_t ublksrv_pid = 0;
  std::uint32_t pad1 = 0;
  std::uint64_t flags = 0;          ///< f_*
  std::uint64_t ublksrv_flags = 0;  ///< stored by the driver for the server
  std::uint32_t owner_uid = 0;
  std::uint32_t owner_gid = 0;
  std::uint64_t reserved1 = 0;
  std::uint64_t reserved2 = 0;
};
static_assert(sizeof(dev_info) == 64 && std::is_trivially_copyable_v<dev_info>);
static_assert(offsetof(dev_info, nr_hw_queues) == 0 && offsetof(dev_info, queue_depth) == 2);
static_assert(offsetof(dev_info, state) == 4 && offsetof(dev_info, pad0) == 6);
static_assert(offsetof(dev_info, max_io_buf_bytes) == 8 && offsetof(dev_info, dev_id) == 12);
static_assert(offsetof(dev_info, ublksrv_pid) == 16 && offsetof(dev_info, pad1) == 20);
static_assert(offsetof(dev_info, flags) == 24 && offsetof(dev_info, ublksrv_flags) == 32);
static_assert(offsetof(dev_info, owner_uid) == 40 && offsetof(dev_info, owner_gid) == 44);
static_assert(offsetof(dev_info, reserved1) == 48 && offsetof(dev_info, reserved2) == 56);

/// Attributes of a device (UBLK_ATTR_*).
inline constexpr std::uint32_t attr_read_only = 1U << 0;
inline constexpr std::uint32_t attr_volatile_cache = 1U << 2;
inline constexpr std::uint32_t attr_fua = 1U << 3;

/// struct ublk_param_basic.
struct param_basic {
  std::uint32_t attrs = 0;  ///< attr_*
  std::uint8_t logical_bs_shift = 9;
  std::uint8_t physical_bs_shift = 9;
  std::uint8_t io_opt_shift = 9;
  std::uint8_t io_min_shift = 9;
  std::uint32_t max_sectors = 0;  ///< of a request, in units of 512 bytes
  std::uint32_t chunk_sectors = 0;
  std::uint64_t dev_sectors = 0;  ///< the size, in units of 512 bytes
  std::uint64_t virt_boundary_mask = 0;
};
static_assert(sizeof(param_basic) == 32 && std::is_trivially_copyable_v<param_basic>);
static_assert(offsetof(param_basic, attrs) == 0 && offsetof(param_basic, logical_bs_shift) == 4);
static_assert(offsetof(param_basic, physical_bs_shift) == 5);
static_assert(offsetof(param_basic, io_opt_shift) == 6 && offsetof(param_basic, io_min_shift) == 7);
static_assert(offsetof(param_basic, max_sectors) == 8 &&
              offsetof(param_basic, chunk_sectors) == 12);
static_assert(offsetof(param_basic, dev_sectors) == 16);
static_assert(offsetof(param_basic, virt_boundary_mask) == 24);

/// struct ublk_param_discard.
struct param_discard {
  std::uint32_t discard_alignment = 0;    ///< bytes
  std::uint32_t discard_granularity = 0;  ///< bytes; not 0 if discard is supported
  std::uint32_t max_discard_sectors = 0;  ///< 0: no discard
  std::uint32_t max_write_zeroes_sectors = 0;
  std::uint16_t max_discard_segments = 0;  ///< 1 if discard is supported
  std::uint16_t reserved0 = 0;
};
static_assert(sizeof(param_discard) == 20 && std::is_trivially_copyable_v<param_discard>);
static_assert(offsetof(param_discard, discard_alignment) == 0);
static_assert(offsetof(param_discard, discard_granularity) == 4);
static_assert(offsetof(param_discard, max_discard_sectors) == 8);
static_assert(offsetof(param_discard, max_write_zeroes_sectors) == 12);
static_assert(offsetof(param_discard, max_discard_segments) == 16);
static_assert(offsetof(param_discard, reserved0) == 18);

/// Which parts of `params` are set (UBLK_PARAM_TYPE_*).
inline constexpr std::uint32_t param_type_basic = 1U << 0;
inline constexpr std::uint32_t param_type_discard = 1U << 1;

/// struct ublk_params, up to the discard parameters. The driver accepts any length.
struct params {
  std::uint32_t len = 0;    ///< sizeof(params)
  std::uint32_t types = 0;  ///< param_type_*
  param_basic basic{};
  param_discard discard{};
  std::uint32_t padding = 0;  ///< lies in the driver's next part, which `types` does not select
};
static_assert(sizeof(params) == 64 && std::is_trivially_copyable_v<params>);
static_assert(offsetof(params, len) == 0 && offsetof(params, types) == 4);
static_assert(offsetof(params, basic) == 8 && offsetof(params, discard) == 40);
static_assert(offsetof(params, padding) == 60);

/// The operations of a request (UBLK_IO_OP_*).
enum class io_operation : std::uint8_t {
  read = 0,
  write = 1,
  flush = 2,
  discard = 3,
  write_same = 4,
  write_zeroes = 5,
};
/// In io_desc::op_flags.
inline constexpr std::uint32_t io_operation_mask = 0xFF;
inline constexpr std::uint32_t io_f_fua = 1U << 13;

/// struct ublksrv_io_desc: one request, in memory that the kernel shares with the server.
struct io_desc {
  std::uint32_t op_flags = 0;  ///< io_operation and io_f_*
  std::uint32_t nr_sectors = 0;
  std::uint64_t start_sector = 0;
  std::uint64_t addr = 0;  ///< unused with f_user_copy
};
static_assert(sizeof(io_desc) == 24 && std::is_trivially_copyable_v<io_desc>);
static_assert(offsetof(io_desc, op_flags) == 0 && offsetof(io_desc, nr_sectors) == 4);
static_assert(offsetof(io_desc, start_sector) == 8 && offsetof(io_desc, addr) == 16);

/// struct ublksrv_io_cmd, in the last 16 bytes of a submission entry of 64 bytes.
struct io_cmd {
  std::uint16_t q_id = 0;
  std::uint16_t tag = 0;
  std::int32_t result = 0;  ///< of COMMIT_AND_FETCH_REQ: bytes, or a negative errno
  std::uint64_t addr = 0;   ///< 0 with f_user_copy
};
static_assert(sizeof(io_cmd) == 16 && std::is_trivially_copyable_v<io_cmd>);
static_assert(offsetof(io_cmd, q_id) == 0 && offsetof(io_cmd, tag) == 2);
static_assert(offsetof(io_cmd, result) == 4 && offsetof(io_cmd, addr) == 8);

/// With f_user_copy, the position in /dev/ublkcN at which the data of a request is read (by the
/// server, of a write) and written (of a read).
[[nodiscard]] constexpr std::uint64_t data_position(std::uint16_t queue,
                                                    std::uint16_t tag) noexcept {
  constexpr std::uint64_t io_buf_offset = 0x8000'0000;
  constexpr unsigned tag_shift = 25;
  constexpr unsigned queue_shift = tag_shift + 16;
  return io_buf_offset +
         ((std::uint64_t{queue} << queue_shift) | (std::uint64_t{tag} << tag_shift));
}

/// The position in /dev/ublkcN at which the descriptors of a queue are mapped, and their size in
/// bytes for pages of `page` bytes.
/// @{
[[nodiscard]] constexpr std::uint64_t descriptors_position(std::uint16_t queue,
                                                           std::uint64_t page) noexcept {
  const auto most = max_queue_depth * sizeof(io_desc);
  return queue * ((most + page - 1) / page * page);
}
[[nodiscard]] constexpr std::uint64_t descriptors_size(std::uint16_t depth,
                                                       std::uint64_t page) noexcept {
  return (depth * sizeof(io_desc) + page - 1) / page * page;
}
/// @}

}  // namespace xenpv::ublk
