#include "cli/text.hpp"

#include "base/parse.hpp"

namespace xenpv::cli {
std::size_t display_width(std::string_view text) noexcept {
  std::size_t width = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++width;
  }
  return width;
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  std::string line;
  const auto add = [&](std::string_view piece, std::string_view gap) {
    if (!line.empty() && display_width(line) + gap.size() + display_width(piece) > width) {
      lines.push_back(std::move(line));
      line.clear();
    }
    if (!line.empty()) line += gap;
    line += piece;
  };
  for (auto word : split(text, ' ')) {
    // A sequence of [,option] parts may be longer than a line.
    std::string_view gap = " ";
    for (auto joint = word.find("][");
         joint != std::string_view::npos && display_width(word) > width; joint = word.find("][")) {
      add(word.substr(0, joint + 1), gap);
      word.remove_prefix(joint + 1);
      gap = "";
    }
    add(word, gap);
  }
  lines.push_back(std::move(line));
  return lines;
}

}  // namespace xenpv::cli
