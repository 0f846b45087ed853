// Constants of the NBD protocol (doc/proto.md of the NBD project; comments cite its sections). The
// messages are in wire/nbd_message.hpp. Resize, metadata contexts and block status have names here
// but are not implemented.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace xenpv::wire {

inline constexpr std::uint64_t nbd_init_magic = 0x4e42444d41474943;    ///< "NBDMAGIC"
inline constexpr std::uint64_t nbd_option_magic = 0x49484156454f5054;  ///< "IHAVEOPT"
inline constexpr std::uint64_t nbd_option_reply_magic =
    0x0003e889045565a9;  ///< section "Fixed newstyle negotiation"
/// The first field of each message in the transmission phase.
/// @{
inline constexpr std::uint32_t nbd_request_magic = 0x25609513;
inline constexpr std::uint32_t nbd_simple_reply_magic = 0x67446698;
inline constexpr std::uint32_t nbd_structured_reply_magic = 0x668e33ef;
inline constexpr std::uint32_t nbd_extended_request_magic = 0x21e41c71;
inline constexpr std::uint32_t nbd_extended_reply_magic = 0x6e8a278c;
/// @}

/// Sections "Handshake flags" (NBD_FLAG_*) and "Client flags" (NBD_FLAG_C_*).
/// @{
inline constexpr std::uint16_t nbd_flag_fixed_newstyle = 1U << 0U;
inline constexpr std::uint16_t nbd_flag_no_zeroes = 1U << 1U;
inline constexpr std::uint32_t nbd_flag_c_fixed_newstyle = 1U << 0U;
inline constexpr std::uint32_t nbd_flag_c_no_zeroes = 1U << 1U;
/// @}

/// Section "Transmission flags" (NBD_FLAG_*).
/// @{
inline constexpr std::uint16_t nbd_flag_has_flags = 1U << 0U;
inline constexpr std::uint16_t nbd_flag_read_only = 1U << 1U;
inline constexpr std::uint16_t nbd_flag_send_flush = 1U << 2U;
inline constexpr std::uint16_t nbd_flag_send_fua = 1U << 3U;
inline constexpr std::uint16_t nbd_flag_rotational = 1U << 4U;
inline constexpr std::uint16_t nbd_flag_send_trim = 1U << 5U;
inline constexpr std::uint16_t nbd_flag_send_write_zeroes = 1U << 6U;
inline constexpr std::uint16_t nbd_flag_send_df = 1U << 7U;
inline constexpr std::uint16_t nbd_flag_can_multi_conn = 1U << 8U;
inline constexpr std::uint16_t nbd_flag_send_resize = 1U << 9U;
inline constexpr std::uint16_t nbd_flag_send_cache = 1U << 10U;
inline constexpr std::uint16_t nbd_flag_send_fast_zero = 1U << 11U;
/// @}

/// NBD_OPT_*
enum class nbd_option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  peek_export = 4,  ///< withdrawn
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
  extended_headers = 11,
};
/// Returns the name in the protocol document, such as "NBD_OPT_GO", or "unknown option" for an
/// undefined number.
[[nodiscard]] std::string_view to_string(nbd_option option) noexcept;

/// NBD_REP_*; errors have bit 31 set.
enum class nbd_reply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  err_unsup = 0x80000001,
  err_policy = 0x80000002,
  err_invalid = 0x80000003,
  err_platform = 0x80000004,
  err_tls_reqd = 0x80000005,
  err_unknown = 0x80000006,
  err_shutdown = 0x80000007,
  err_block_size_reqd = 0x80000008,
  err_too_big = 0x80000009,
  err_ext_header_reqd = 0x8000000a,
};
/// Returns the name, such as "NBD_REP_ACK", or "unknown reply" for an undefined number.
[[nodiscard]] std::string_view to_string(nbd_reply type) noexcept;

/// NBD_INFO_*; export_data is NBD_INFO_EXPORT.
enum class nbd_info : std::uint16_t { export_data = 0, name = 1, description = 2, block_size = 3 };

/// NBD_CMD_*
enum class nbd_command : std::uint16_t {
  read = 0,
  write = 1,
  disc = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
};
/// Returns the name, such as "NBD_CMD_READ", or "unknown command" for an undefined number.
[[nodiscard]] std::string_view to_string(nbd_command command) noexcept;

/// Section "Command flags" (NBD_CMD_FLAG_*).
/// @{
inline constexpr std::uint16_t nbd_cmd_flag_fua = 1U << 0U;
inline constexpr std::uint16_t nbd_cmd_flag_no_hole = 1U << 1U;
inline constexpr std::uint16_t nbd_cmd_flag_df = 1U << 2U;
inline constexpr std::uint16_t nbd_cmd_flag_fast_zero = 1U << 4U;
inline constexpr std::uint16_t nbd_cmd_flag_payload_len = 1U << 5U;
/// @}

/// NBD_REPLY_TYPE_*; errors have bit 15 set.
enum class nbd_chunk : std::uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  block_status_ext = 6,
  error = 0x8001,
  error_offset = 0x8002,
};
/// NBD_REPLY_FLAG_DONE: the last chunk of a structured reply.
inline constexpr std::uint16_t nbd_reply_flag_done = 1U << 0U;

/// Section "Error values". The values are Linux errno values on every host; the server does not
/// send any other value.
enum class nbd_error : std::uint32_t {
  none = 0,
  eperm = 1,
  eio = 5,
  enomem = 12,
  einval = 22,
  enospc = 28,
  eoverflow = 75,
  enotsup = 95,
  eshutdown = 108,
};
/// Returns the name, such as "NBD_EINVAL", "success" for `none`, or "unknown error" for an
/// undefined number.
[[nodiscard]] std::string_view to_string(nbd_error error) noexcept;

inline constexpr std::size_t nbd_string_max = 4096;  ///< section "Conventions"
inline constexpr std::size_t nbd_export_name_zeroes =
    124;  ///< zero bytes after the reply to NBD_OPT_EXPORT_NAME

}  // namespace xenpv::wire
