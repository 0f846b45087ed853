// The properties of one export, and the transmission flags derived from them. No I/O.
#pragma once

#include <cstdint>
#include <string>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {

/// Longest name or description to offer, in bytes: nbd-client -l cannot read longer ones.
inline constexpr std::size_t longest_offered_text = 1023;

struct export_info {
  std::string name;
  std::string description;  ///< human-readable; empty: none
  std::uint64_t size = 0;

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

  friend bool operator==(const export_info&, const export_info&) = default;
};

/// Returns the flags of section "Transmission flags". `structured`: structured replies were
/// negotiated. Omits the write-related flags if the export is read-only.
[[nodiscard]] std::uint16_t transmission_flags(const export_info& exported,
                                               bool structured) noexcept;

/// Checks an export's texts and block sizes against the limits in the protocol document. The error
/// names the export and the problem.
[[nodiscard]] result<void> validate(const export_info& exported);

}  // namespace xenpv::nbd
