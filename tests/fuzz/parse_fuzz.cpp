// Command-line values: parsing terminates for any text, and accepted values round-trip. Escaped
// text for the terminal contains only visible characters.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/parse.hpp"
#include "base/shell_quote.hpp"
#include "base/utf8.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto number = xenpv::parse_unsigned(text, "n", 10, 1000))
    require(*number >= 10 && *number <= 1000);
  if (const auto bytes = xenpv::parse_size(text, "s"))
    require(xenpv::parse_size(std::to_string(*bytes), "s").value() == *bytes);
  if (const auto time = xenpv::parse_duration(text, "t")) {
    require(time->count() >= 0);
    require(!xenpv::format_duration(*time).empty());
  }
  if (const auto ratio = xenpv::parse_ratio(text, "r"))
    require(ratio->whole >= 1 && ratio->part <= ratio->whole);

  std::size_t length = 0;
  const auto fields = xenpv::split(text, ',');
  for (const auto field : fields)
    length += field.size();
  require(length + fields.size() - 1 == size);
  require(xenpv::utf8_length(text) <= size);

  for (const auto& shown :
       {xenpv::printable(text), xenpv::printable(text, 64), xenpv::shell_quote(text)}) {
    for (std::string_view rest = shown; !rest.empty(); rest.remove_prefix(xenpv::utf8_length(rest)))
      require(xenpv::is_visible(rest));
    require(xenpv::printable(shown) == shown);
  }
  require(xenpv::printable(text, 64).size() <= 64);
  return 0;
}
