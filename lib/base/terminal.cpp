#include "base/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "base/parse.hpp"

namespace xenpv {

bool can_redraw(int descriptor) noexcept {
  const char* kind = std::getenv("TERM");
  return ::isatty(descriptor) == 1 && kind != nullptr && *kind != '\0' &&
         std::string_view(kind) != "dumb";
}

std::size_t text_columns(int descriptor) noexcept {
  constexpr std::size_t usual = 80;
  winsize window{};
  if (::ioctl(descriptor, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) return window.ws_col;
  const char* const columns = std::getenv("COLUMNS");
  const auto number = columns == nullptr ? std::nullopt : parse_whole<std::size_t>(columns);
  return number && *number > 0 ? *number : usual;
}

}  // namespace xenpv
