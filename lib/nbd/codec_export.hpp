// What one export is and offers. Values, and what follows from them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {

/// Longest name or description that is offered: nbd-client -l reads no longer ones.
inline constexpr std::size_t longest_offered_text = 1023;

struct export_info {
  std::string name;
  std::string description;  ///< for people; empty: none
  std::uint64_t size = 0;

  // Section "Size constraints". The maximum is advice: see largest_request.
  std::uint32_t minimum_block = 1;
  std::uint32_t preferred_block = 4096;
  std::uint32_t maximum_block = 32U << 20U;

  bool read_only = false;
  bool rotational = false;
  bool can_flush = false;
  bool can_fua = false;  ///< counts only with can_flush
  bool can_trim = false;
  bool can_write_zeroes = false;
  /// Clients may ask for zeroes only if that is fast; counts only with can_write_zeroes.
  bool can_fast_zero = false;
  /// It is faster than writing them. Without it such a request gets ENOTSUP at once.
  bool zeroes_are_fast = false;
  bool can_cache = false;
  bool can_multi_conn = false;

  /// Metadata contexts the device can tell about, such as wire::nbd_base_allocation; offered only
  /// with structured replies.
  std::vector<std::string> contexts;

  friend bool operator==(const export_info&, const export_info&) = default;
};

/// Section "Transmission flags". `structured`: structured replies were agreed. Flags for writing
/// are left out of a read-only export's.
[[nodiscard]] std::uint16_t transmission_flags(const export_info& of, bool structured) noexcept;

/// Whether it may be offered: texts and block sizes within the document's bounds. The error says
/// which export and what is wrong.
[[nodiscard]] result<void> validate(const export_info& offered);

}  // namespace xenpv::nbd
