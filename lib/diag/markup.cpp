#include "diag/markup.hpp"

namespace xenpv::diag {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char each : text) {
    switch (each) {
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
        if (static_cast<unsigned char>(each) >= 0x20) out += each;
    }
  }
  return out;
}

}  // namespace xenpv::diag
