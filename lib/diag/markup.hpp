// Text inside HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::diag {

/// For elements and for attributes in double quotes. Control characters, which XML cannot have, are
/// left out.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace xenpv::diag
