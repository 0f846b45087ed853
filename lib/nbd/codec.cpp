#include "nbd/codec.hpp"

#include <cerrno>
#include <cstring>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

using wire::nbd_command;
using wire::nbd_error;

bool is_outside(const request_header& request, std::uint64_t size) noexcept {
  return request.offset > size || request.length > size - request.offset;
}

bool is_unaligned(const request_header& request, std::uint32_t block) noexcept {
  return ((request.offset | request.length) & (block - 1)) != 0;
}

/// Returns the command flags that the server offers to this client.
unsigned offered_flags(const export_info& exported, session_terms terms) noexcept {
  unsigned flags = wire::nbd_cmd_flag_no_hole;
  if (exported.can_flush && exported.can_fua) flags |= wire::nbd_cmd_flag_fua;
  if (terms.structured) flags |= wire::nbd_cmd_flag_df;
  if (exported.can_fast_zero) flags |= wire::nbd_cmd_flag_fast_zero;
  if (terms.extended) flags |= wire::nbd_cmd_flag_payload_len;
  return flags;
}

/// Returns the verdict for the first rule that the request violates, if any.
verdict refusal(const request_header& request, const export_info& exported,
                session_terms terms) noexcept {
  const auto refuse = [](nbd_error error, std::string_view reason) {
    return verdict{error, 0, false, reason};
  };
  const auto& rules = rules_of(request.type);
  // On a read-only export, EPERM takes precedence over the other errors.
  if (rules.writes && exported.read_only)
    return refuse(nbd_error::eperm, "the export is read-only");
  if (!rules.is_known) return refuse(nbd_error::einval, "unknown command");
  if (rules.feature != nullptr && !(exported.*rules.feature))
    return refuse(nbd_error::einval, "the export does not offer this command");
  if ((request.flags & ~(rules.flags & offered_flags(exported, terms))) != 0)
    return refuse(nbd_error::einval, "a flag that is unknown or invalid for this command");
  if (!rules.has_range) return {};
  if (is_outside(request, exported.size))
    return refuse(rules.beyond_end, "beyond the end of the export");
  if (is_unaligned(request, exported.minimum_block))
    return refuse(nbd_error::einval, "not aligned to the minimum block size");
  if (request.length > largest_request) {
    // The protocol allows EOVERFLOW only for requests without a payload (section "Error values").
    if (request.type == nbd_command::read)
      return refuse(nbd_error::eoverflow, "a read of more than 64 MiB");
    if (request.type == nbd_command::write)
      return refuse(nbd_error::einval, "a write of more than 64 MiB");
  }
  if (request.has_flag(wire::nbd_cmd_flag_fast_zero) && !exported.zeroes_are_fast)
    return refuse(nbd_error::enotsup, "zeroing is not faster than writing");
  return {};
}

nbd_error own_to_nbd_error(int value) noexcept {
  switch (static_cast<errc>(value)) {
    case errc::invalid_argument:
      return nbd_error::einval;
    case errc::protocol_violation:
    case errc::not_available:
    case errc::limit_reached:
    case errc::lost_connection:
    case errc::resumed:
    case errc::timed_out:
    case errc::wrong_disk:
      break;
  }
  return nbd_error::eio;
}

}  // namespace

std::optional<request_header> decode_extended_request(
    std::span<const std::byte, extended_request_size> bytes) noexcept {
  wire::nbd_extended_request raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  if (raw.magic.value() != wire::nbd_extended_request_magic) return std::nullopt;
  return request_header{raw.flags.value(), static_cast<nbd_command>(raw.type.value()),
                        raw.cookie.value(), raw.offset.value(), raw.length.value()};
}

verdict check_rules(const request_header& request, const export_info& exported,
                    session_terms terms) noexcept {
  if (request.type == nbd_command::disc) return {};
  // With extended headers, the flag announces a payload of any command. A WRITE without the flag
  // violates the protocol; its payload must not be taken for requests.
  const bool has_payload = rules_of(request.type).has_payload ||
                           (terms.extended && request.has_flag(wire::nbd_cmd_flag_payload_len));
  if (has_payload && request.length > largest_skipped_payload)
    return {nbd_error::einval, 0, true, "a payload of more than 128 MiB"};
  auto answer = refusal(request, exported, terms);
  if (has_payload) answer.payload = static_cast<std::uint32_t>(request.length);
  return answer;
}

nbd_error errno_to_nbd_error(int value) noexcept {
  switch (value) {
    case 0:
      return nbd_error::none;
    case EPERM:
    case EACCES:
    case EROFS:
      return nbd_error::eperm;
    case ENOMEM:
      return nbd_error::enomem;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return nbd_error::enospc;
    // A command that the device does not support, or no longer supports, is treated as unknown: the
    // protocol allows ENOTSUP only for fast zeroes, and EOVERFLOW only for the length of a read.
    case EINVAL:
    case EOPNOTSUPP:
#if ENOTSUP != EOPNOTSUPP
    case ENOTSUP:
#endif
    case ENOSYS:
    case EOVERFLOW:
      return nbd_error::einval;
    // The device was closed while the connection was in use.
    case ESHUTDOWN:
    case ECANCELED:
      return nbd_error::eshutdown;
    default:
      return nbd_error::eio;
  }
}

nbd_error to_nbd_error(std::error_code code) noexcept {
  if (!code) return nbd_error::none;
  if (code.category() == category()) return own_to_nbd_error(code.value());
  // Not default_error_condition(): <system_error> does not map EDQUOT and ESHUTDOWN.
  const bool is_errno =
      code.category() == std::system_category() || code.category() == std::generic_category();
  return is_errno ? errno_to_nbd_error(code.value()) : nbd_error::eio;
}

}  // namespace xenpv::nbd
