// Maps enumerators to names, for the to_string() of an enum whose values are 0, 1, 2 and so on.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <type_traits>

namespace xenpv {

/// Returns the name of `value`. `names` lists the enumerators' names in declaration order, through
/// `Last`. Returns "invalid" for a value that is not an enumerator.
template <auto Last, class Enum, class... Names>
[[nodiscard]] constexpr std::string_view enum_name(Enum value, const Names&... names) noexcept {
  static_assert(std::is_same_v<Enum, std::remove_const_t<decltype(Last)>>);
  static_assert(sizeof...(Names) == static_cast<std::size_t>(Last) + 1,
                "every enumerator needs a name");
  const std::array<std::string_view, sizeof...(Names)> list = {names...};
  const auto index = static_cast<std::size_t>(value);
  return index < list.size() ? list[index] : "invalid";
}

}  // namespace xenpv
