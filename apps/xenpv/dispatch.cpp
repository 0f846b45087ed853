#include "dispatch.hpp"

#include <algorithm>

namespace xenpv::multi_call {
namespace {

std::string_view without_mark(std::string_view text) noexcept {
  if (text.starts_with('@')) text.remove_prefix(1);
  return text;
}

const applet* find_by_name(std::span<const applet> applets, std::string_view name) noexcept {
  const auto found = std::ranges::find(applets, name, &applet::name);
  return found == applets.end() ? nullptr : &*found;
}

const applet* find_by_word(std::span<const applet> applets, std::string_view word) noexcept {
  const auto found = std::ranges::find_if(applets, [word](const applet& entry) {
    return entry.is_listed() && (word == entry.word || word == entry.name);
  });
  return found == applets.end() ? nullptr : &*found;
}

}  // namespace

std::string_view program_name(std::string_view argv0) noexcept {
  argv0 = without_mark(argv0);
  // npos + 1 is 0.
  return without_mark(argv0.substr(argv0.rfind('/') + 1));
}

selection select_applet(std::span<const applet> applets,
                        std::span<const char* const> arguments) noexcept {
  if (arguments.empty()) return {};
  const auto name = program_name(arguments.front());
  if (const auto* const found = find_by_name(applets, name)) return {outcome::applet, found};
  if (arguments.size() == 1) {
    // Probably a link that should name an applet.
    if (name.starts_with("xenpv-")) return {.outcome = outcome::unknown_applet, .unknown = name};
    return {};
  }
  const std::string_view word = arguments[1];
  if (const auto* const found = find_by_word(applets, word)) return {outcome::applet, found, 1};
  if (word.starts_with('-')) return {};
  return {.outcome = outcome::unknown_applet, .unknown = word};
}

std::string listed_names(std::span<const applet> applets) {
  std::string out;
  for (const auto& entry : applets) {
    if (!entry.is_listed()) continue;
    if (!out.empty()) out += ", ";
    out += entry.name;
  }
  return out;
}

}  // namespace xenpv::multi_call
