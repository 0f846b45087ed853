// Distinct types for numbers that are easily confused in Xen code. They convert only through
// static_cast or raw(), and print as plain numbers.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <type_traits>

namespace xenpv {

/// Domain identifier (xen.h domid_t).
enum class domid : std::uint16_t {};
/// DOMID_SELF of xen.h: "the calling domain".
inline constexpr domid domid_self{0x7FF0};
/// The control domain, which usually runs the backends.
inline constexpr domid domid_0{0};

/// Event channel port of the calling domain (event_channel.h evtchn_port_t); 0 is never valid.
enum class port : std::uint32_t {};

/// Grant reference (grant_table.h grant_ref_t); valid only in the table of the granting domain.
enum class grant_ref : std::uint32_t {};

/// Position on a PV disk in units of 512 bytes, regardless of the disk's sector size (blkif.h).
enum class sector : std::uint64_t {};

/// Returns `value` as a plain number.
template <class Enum>
requires std::is_enum_v<Enum>
[[nodiscard]] constexpr std::underlying_type_t<Enum> raw(Enum value) noexcept {
  return static_cast<std::underlying_type_t<Enum>>(value);
}

/// Page size of the x86 and ARM ABIs, in bytes; the unit of all rings and grants.
inline constexpr std::size_t page_size = 4096;

/// {fmt} finds these through argument-dependent lookup and prints the number.
/// @{
constexpr auto format_as(domid v) noexcept {
  return raw(v);
}
constexpr auto format_as(port v) noexcept {
  return raw(v);
}
constexpr auto format_as(grant_ref v) noexcept {
  return raw(v);
}
constexpr auto format_as(sector v) noexcept {
  return raw(v);
}
/// @}

}  // namespace xenpv
