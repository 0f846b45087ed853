#include "base/shell_quote.hpp"

#include <fmt/format.h>

#include "base/utf8.hpp"

namespace xenpv {
namespace {

constexpr std::string_view unquoted =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";

std::string quote_with_escapes(std::string_view text) {
  std::string out = "$'";
  while (!text.empty()) {
    const auto length = is_visible(text) ? utf8_length(text) : 0;
    const char c = text.front();
    if (c == '\'' || c == '\\')
      out.append({'\\', c});
    else if (length > 0)
      out += text.substr(0, length);
    else  // three octal digits: no following character can become part of the escape
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    text.remove_prefix(length > 0 ? length : 1);
  }
  return out + "'";
}

}  // namespace

std::string shell_quote(std::string_view text) {
  if (!text.empty() && text.find_first_not_of(unquoted) == std::string_view::npos)
    return std::string(text);
  if (printable(text) != text) return quote_with_escapes(text);
  std::string out = "'";
  for (const char c : text)
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace xenpv
