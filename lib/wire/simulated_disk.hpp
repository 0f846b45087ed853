// Values that the simulated toolstack writes below `xenpv/` in a disk's backend directory, for the
// simulated block backend. This is the only list of backend personalities and stores; the option
// parser, the help, the error messages and the backend use it. A new personality needs a line here
// and a row in blkback/personality.cpp. External backends are programs that the simulated backend
// must leave alone; it recognises their disks by the same node.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace xenpv::wire {

enum class backend_kind : std::uint8_t { linux_blkback, qemu, tapdisk, freebsd };
enum class disk_store : std::uint8_t { memory, file, null };

/// The values of the node `xenpv/backend` for disks that an external program serves: QEMU, or a
/// command.
inline constexpr std::string_view qemu_backend = "qemu-real";
inline constexpr std::string_view command_backend = "exec";
[[nodiscard]] constexpr bool is_external_backend(std::string_view name) noexcept {
  return name == qemu_backend || name == command_backend;
}

template <class Enum>
struct named_value {
  Enum value;
  std::string_view name;  ///< in options and in xenstore
};

using named_backend = named_value<backend_kind>;
using named_store = named_value<disk_store>;

inline constexpr std::array backend_kinds = {
    named_backend{backend_kind::linux_blkback, "linux"},
    named_backend{backend_kind::qemu, "qemu"},
    named_backend{backend_kind::tapdisk, "tapdisk"},
    named_backend{backend_kind::freebsd, "freebsd"},
};
inline constexpr std::array disk_stores = {
    named_store{disk_store::memory, "memory"},
    named_store{disk_store::file, "file"},
    named_store{disk_store::null, "null"},
};

/// Returns the name of `value` in `table`, which must list all values in enum order.
template <class Enum, std::size_t N>
[[nodiscard]] constexpr std::string_view name_in(const std::array<named_value<Enum>, N>& table,
                                                 Enum value) noexcept {
  return table[static_cast<std::size_t>(value)].name;
}

template <class Enum, std::size_t N>
[[nodiscard]] constexpr std::optional<Enum> find_in(const std::array<named_value<Enum>, N>& table,
                                                    std::string_view name) noexcept {
  for (const auto& entry : table)
    if (entry.name == name) return entry.value;
  return std::nullopt;
}

/// Joins the names: "memory, file or null", or with other separators.
template <class Enum, std::size_t N>
[[nodiscard]] std::string join_names(const std::array<named_value<Enum>, N>& table,
                                     std::string_view separator = ", ",
                                     std::string_view last_separator = " or ") {
  std::string out;
  for (std::size_t i = 0; i < N; ++i) {
    if (i > 0) out += i + 1 < N ? separator : last_separator;
    out += table[i].name;
  }
  return out;
}

}  // namespace xenpv::wire
