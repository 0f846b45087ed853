#include "cli/pages.hpp"

namespace xenpv::cli {

std::string words_page(std::span<const command_spec* const> path, word_list list) {
  std::string page;
  const auto add = [&](const std::string& word) {
    if (!word.empty()) page += word + '\n';
  };
  if (list == word_list::commands) {
    for (const auto& child : path.back()->commands)
      add(child->spec().word);
    return page;
  }
  // A command also accepts the options of its parents.
  for (auto at = path.rbegin(); at != path.rend(); ++at) {
    for (const auto& option : (*at)->options)
      add(list == word_list::long_options ? option.long_name : option.short_name);
  }
  return page;
}

}  // namespace xenpv::cli
