// One command of a program: its name, options, arguments and action. Parsing, --help, the manual
// page and shell completion use the same definition, so they cannot drift apart.
//
// Owned by its app (app.hpp) or parent command. The targets of its options must outlive the run of
// the app. Does not parse the command line; the app does.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/exit_code.hpp"
#include "cli/value.hpp"

namespace xenpv::cli {

struct command_spec;

struct option_traits {
  bool required = false;
  /// The default value, as text. It is parsed and stored immediately, and shown in the help. The
  /// default is not defined anywhere else.
  std::string by_default = {};
};

class command {
 public:
  command(std::string name, std::string summary);
  ~command();
  command(const command&) = delete;
  command& operator=(const command&) = delete;

  // Help texts of options and arguments are lower-case phrases without a full stop, so that
  // additions such as "(default: 5s)" can follow.

  /// Adds a paragraph of plain text; the help and the manual page wrap it.
  command& describe(std::string paragraph);
  /// `line` is a command line; `explanation` describes it, without a full stop.
  command& example(std::string explanation, std::string line);

  /// Adds a section, such as FILES, to the manual page. Each entry is a name and its description.
  /// The sections appear in the order of the calls. Only for the root command.
  command& manual_section(std::string title,
                          std::vector<std::pair<std::string, std::string>> entries);

  /// `names` is "-q, --quiet" or "--quiet".
  command& flag(std::string_view names, bool& target, std::string_view help);

  /// `names` is "--disk SPEC" or "-d, --disk SPEC". An option with a std::vector target may be
  /// given several times, any other option once. See store_in() for how `parse` is called.
  template <class T, class Parse>
  command& option(std::string_view names, T& target, std::string_view help, Parse parse,
                  const option_traits& traits = {}) {
    auto words = words_of(parse);
    return add_option(names, help,
                      store_in(target, std::string(long_name(names)), std::move(parse)),
                      takes_many<T>, std::move(words), traits);
  }

  /// `name` is "DOMAIN" (required) or "[DOMAIN]" (optional). A std::vector target takes all
  /// remaining arguments, so it must come last.
  template <class T, class Parse>
  command& argument(std::string_view name, T& target, std::string_view help, Parse parse) {
    auto words = words_of(parse);
    return add_argument(name, help,
                        store_in(target, std::string(bare_name(name)), std::move(parse)),
                        takes_many<T>, std::move(words));
  }

  /// Stores all arguments after "--" in `target`, unchanged: the command line of another program.
  enum class rest { optional, required };
  command& takes_command(std::vector<std::string>& target, rest need = rest::required);

  /// Adds the standard option --json, which sets `target`.
  command& offers_json(bool& target);

  /// Adds a sub-command. The reference stays valid for this command's lifetime.
  command& add_command(std::string name, std::string summary);

  /// Sets the function that runs when the command line selects this command. It writes data to
  /// `out`, and may throw (see app::run).
  command& action(std::function<exit_code(std::ostream& out)> run);

  [[nodiscard]] const command_spec& spec() const noexcept { return *spec_; }

 private:
  static std::string_view long_name(std::string_view names);
  static std::string_view bare_name(std::string_view name);
  command& add_option(std::string_view names, std::string_view help,
                      std::function<void(std::string_view)> accept, bool repeated,
                      std::vector<std::string> words, const option_traits& traits);
  command& add_argument(std::string_view name, std::string_view help,
                        std::function<void(std::string_view)> accept, bool repeated,
                        std::vector<std::string> words);

  std::unique_ptr<command_spec> spec_;
};

}  // namespace xenpv::cli
