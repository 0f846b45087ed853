// The xenstore wire protocol (xen/io/xs_wire.h, docs/misc/xenstore.txt): constants and the message
// header. tests/unit/wire compares the layout with the Xen header file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace xenpv::wire {

/// enum xsd_sockmsg_type
enum class xs_type : std::uint32_t {
  control = 0,
  directory = 1,
  read = 2,
  get_perms = 3,
  watch = 4,
  unwatch = 5,
  transaction_start = 6,
  transaction_end = 7,
  introduce = 8,
  release = 9,
  get_domain_path = 10,
  write = 11,
  mkdir = 12,
  rm = 13,
  set_perms = 14,
  watch_event = 15,
  error = 16,
  is_domain_introduced = 17,
  resume = 18,
  set_target = 19,
  reset_watches = 21,
  directory_part = 22,
};

/// struct xsd_sockmsg, in host byte order; `len` bytes of payload follow.
struct xs_message_header {
  xs_type type;
  std::uint32_t req_id;
  std::uint32_t tx_id;
  std::uint32_t len;
};
static_assert(sizeof(xs_message_header) == 16);
static_assert(offsetof(xs_message_header, type) == 0);
static_assert(offsetof(xs_message_header, req_id) == 4);
static_assert(offsetof(xs_message_header, tx_id) == 8);
static_assert(offsetof(xs_message_header, len) == 12);
static_assert(std::is_trivially_copyable_v<xs_message_header>);

inline constexpr std::size_t xs_payload_max = 4096;   ///< XENSTORE_PAYLOAD_MAX
inline constexpr std::size_t xs_abs_path_max = 3072;  ///< XENSTORE_ABS_PATH_MAX
inline constexpr std::size_t xs_rel_path_max = 2048;  ///< XENSTORE_REL_PATH_MAX

[[nodiscard]] std::string_view to_string(xs_type type) noexcept;

/// Returns the name that an XS_ERROR payload carries for an errno value, such as "ENOENT", or
/// "EINVAL" if the protocol does not name that value.
[[nodiscard]] std::string_view xs_error_name(int errno_value) noexcept;

}  // namespace xenpv::wire
