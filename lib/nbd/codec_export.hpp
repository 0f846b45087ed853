// The properties of one export, the commands that it offers, and the transmission flags that
// announce them. A new command needs a row in command_table and a case in dispatcher::begin().
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

#include "xenpv/base/error.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {

/// Longest name or description to offer, in bytes: nbd-client -l cannot read longer ones.
inline constexpr std::size_t longest_offered_text = 1023;

struct export_info {
  std::string name;
  std::string description;  ///< human-readable; empty: none
  std::uint64_t size = 0;
  /// The byte of the device where the export begins; device requests add it.
  std::uint64_t first = 0;

  // In bytes; see section "Size constraints". The maximum is only advisory: see largest_request.
  std::uint32_t minimum_block = 1;
  std::uint32_t preferred_block = 4096;
  std::uint32_t maximum_block = 32U << 20U;

  bool read_only = false;
  bool rotational = false;
  bool can_flush = false;
  bool can_fua = false;  ///< ignored without can_flush
  bool can_trim = false;
  bool can_write_zeroes = false;
  /// Clients may send fast-zero requests, which must succeed quickly or fail; ignored without
  /// can_write_zeroes.
  bool can_fast_zero = false;
  /// Zeroing is faster than writing. Otherwise fast-zero requests fail immediately with ENOTSUP.
  bool zeroes_are_fast = false;
  bool can_multi_conn = false;

  /// The reason why clients cannot use the export: its device is lost. Empty: they can use it.
  std::string unavailable{};

  friend bool operator==(const export_info&, const export_info&) = default;
};

/// The checks that a command must pass before it is processed.
struct command_rules {
  bool is_known = true;
  bool writes = false;
  bool has_payload = false;
  bool has_range = true;
  wire::nbd_error beyond_end = wire::nbd_error::einval;  ///< for a range beyond the export's end
  std::uint16_t flags = wire::nbd_cmd_flag_fua;          ///< command flags; allowed if advertised
  std::uint16_t announced_by = 0;                        ///< transmission flag
  bool export_info::*feature = nullptr;  ///< whether the export has the command; null: always
};

/// Indexed by command. The last row is for BLOCK_STATUS and all unknown numbers.
inline constexpr command_rules command_table[] = {
    {.flags = wire::nbd_cmd_flag_fua | wire::nbd_cmd_flag_df},  // READ
    // WRITE
    {.writes = true,
     .has_payload = true,
     .beyond_end = wire::nbd_error::enospc,
     .flags = wire::nbd_cmd_flag_fua | wire::nbd_cmd_flag_payload_len},
    {.is_known = false},  // DISC
    // FLUSH, which does not have a range, although some clients set one
    {.has_range = false,
     .announced_by = wire::nbd_flag_send_flush,
     .feature = &export_info::can_flush},
    // TRIM
    {.writes = true, .announced_by = wire::nbd_flag_send_trim, .feature = &export_info::can_trim},
    {.is_known = false},  // CACHE
    // WRITE_ZEROES
    {.writes = true,
     .beyond_end = wire::nbd_error::enospc,
     .flags = wire::nbd_cmd_flag_fua | wire::nbd_cmd_flag_no_hole | wire::nbd_cmd_flag_fast_zero,
     .announced_by = wire::nbd_flag_send_write_zeroes,
     .feature = &export_info::can_write_zeroes},
    {.is_known = false},
};

[[nodiscard]] constexpr const command_rules& rules_of(wire::nbd_command command) noexcept {
  return command_table[std::min(static_cast<std::size_t>(command), std::size(command_table) - 1)];
}

/// Returns the flags of section "Transmission flags". `structured`: structured replies were
/// negotiated. Omits the write-related flags if the export is read-only.
[[nodiscard]] std::uint16_t transmission_flags(const export_info& exported,
                                               bool structured) noexcept;

/// Checks an export's texts and block sizes against the limits in the protocol document. The error
/// names the export and the problem.
[[nodiscard]] result<void> validate(const export_info& exported);

}  // namespace xenpv::nbd
