#include "nbd/codec.hpp"

#include <cerrno>
#include <cstring>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

using wire::nbd_command;
using wire::nbd_error;

/// The rules for a command, and whether the export offers it.
struct command_rules {
  bool is_offered = false;
  bool writes = false;
  bool has_range = true;
  std::uint16_t flags = 0;  ///< allowed in addition to FUA
  std::string_view refusal;
};

command_rules rules_of(nbd_command type, const export_info& exported,
                       session_terms terms) noexcept {
  constexpr auto unsupported = "the export does not offer this command";
  switch (type) {
    case nbd_command::read:
      return {true, false, true, terms.structured ? wire::nbd_cmd_flag_df : std::uint16_t{0}, {}};
    case nbd_command::write:
      return {true, true, true, 0, {}};
    case nbd_command::flush:
      return {exported.can_flush, false, false, 0, unsupported};
    case nbd_command::trim:
      return {exported.can_trim, true, true, 0, unsupported};
    case nbd_command::write_zeroes: {
      unsigned flags = wire::nbd_cmd_flag_no_hole;
      if (exported.can_fast_zero) flags |= wire::nbd_cmd_flag_fast_zero;
      return {exported.can_write_zeroes, true, true, static_cast<std::uint16_t>(flags),
              unsupported};
    }
    case nbd_command::cache:
    case nbd_command::disc:  // no rules
    case nbd_command::block_status:
      break;
  }
  return {false, false, false, 0, "unknown command"};
}

bool is_outside(const request_header& request, std::uint64_t size) noexcept {
  return request.offset > size || request.length > size - request.offset;
}

bool is_unaligned(const request_header& request, std::uint32_t block) noexcept {
  return ((request.offset | request.length) & (block - 1)) != 0;
}

/// Returns the verdict for the first rule that the request violates, if any.
verdict refusal(const request_header& request, const export_info& exported,
                session_terms terms) noexcept {
  const auto refuse = [](nbd_error error, std::string_view reason) {
    return verdict{error, 0, false, reason};
  };
  const auto rules = rules_of(request.type, exported, terms);
  // On a read-only export, EPERM takes precedence over the other errors.
  if (rules.writes && exported.read_only)
    return refuse(nbd_error::eperm, "the export is read-only");
  if (!rules.is_offered) return refuse(nbd_error::einval, rules.refusal);
  const bool takes_fua = exported.can_flush && exported.can_fua;
  const unsigned allowed = rules.flags | (takes_fua ? wire::nbd_cmd_flag_fua : 0U);
  if ((request.flags & ~allowed) != 0)
    return refuse(nbd_error::einval, "a flag that is unknown or invalid for this command");
  // FLUSH does not have a range, but some clients set one.
  if (!rules.has_range) return {};
  if (is_outside(request, exported.size)) {
    const bool adds =
        request.type == nbd_command::write || request.type == nbd_command::write_zeroes;
    return refuse(adds ? nbd_error::enospc : nbd_error::einval, "beyond the end of the export");
  }
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

std::optional<request_header> decode_request(
    std::span<const std::byte, request_size> bytes) noexcept {
  wire::nbd_request raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  if (raw.magic.value() != wire::nbd_request_magic) return std::nullopt;
  return request_header{raw.flags.value(), static_cast<nbd_command>(raw.type.value()),
                        raw.cookie.value(), raw.offset.value(), raw.length.value()};
}

verdict check_request(const request_header& request, const export_info& exported,
                      session_terms terms) noexcept {
  if (request.type == nbd_command::disc) return {};
  const bool has_payload = request.type == nbd_command::write;
  if (has_payload && request.length > largest_skipped_payload)
    return {nbd_error::einval, 0, true, "a write of more than 128 MiB"};
  auto answer = refusal(request, exported, terms);
  if (has_payload) answer.payload = request.length;
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
