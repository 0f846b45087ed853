// Escapes text for HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::probe {

/// Escapes text for elements and for double-quoted attributes. Omits control characters, which XML
/// does not allow.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace xenpv::probe
