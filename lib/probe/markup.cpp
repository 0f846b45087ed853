#include "probe/markup.hpp"

namespace xenpv::probe {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char character : text) {
    switch (character) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(character) >= 0x20) out += character;
    }
  }
  return out;
}

}  // namespace xenpv::probe
