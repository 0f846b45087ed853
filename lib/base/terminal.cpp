#include "base/terminal.hpp"

#include <unistd.h>

#include <cstdlib>

namespace xenpv {

bool can_redraw(int descriptor) noexcept {
  const char* kind = std::getenv("TERM");
  return ::isatty(descriptor) == 1 && kind != nullptr && *kind != '\0' &&
         std::string_view(kind) != "dumb";
}

}  // namespace xenpv
