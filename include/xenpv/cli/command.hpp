// One command of a program: its words, options and arguments, and what it does. The same
// definitions give parsing, --help, the manual page and shell completion, so none of them can
// drift.
//
// Owned by its app (app.hpp) or parent command. Everything an option stores to must outlive the
// app's run. Parses nothing by itself; that is the app's part.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/cli/exit_code.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::cli {

struct command_spec;

struct option_traits {
  bool required = false;
  /// Parsed and stored at once, and shown in the help: there is no second place that names the
  /// default.
  std::string by_default = {};
};

class command {
 public:
  command(std::string name, std::string summary);
  ~command();
  command(const command&) = delete;
  command& operator=(const command&) = delete;

  // Help texts of options and arguments are lower-case phrases without a full stop: what the rest
  // of their line adds, as in "(default: 5s)", has to fit behind.

  /// Whole paragraphs of plain text; the help and the manual page wrap them. May be called again.
  command& describe(std::string paragraph);
  /// `line` is what one types; `explanation` says what it does, without a trailing dot.
  command& example(std::string explanation, std::string line);

  /// `words` is "-q, --quiet" or "--quiet".
  command& flag(std::string_view words, bool& target, std::string_view help);

  /// `words` is "--disk SPEC" or "-d, --disk SPEC". A std::vector target may be given several
  /// times, any other target once. See store_in for how `parse` is called.
  template <class T, class Parse>
  command& option(std::string_view words, T& target, std::string_view help, Parse parse,
                  const option_traits& traits = {}) {
    return add_option(words, help,
                      store_in(target, std::string(long_word(words)), std::move(parse)),
                      takes_many<T>, traits);
  }

  /// `word` is "DOMAIN" (must be given) or "[DOMAIN]" (may be). A std::vector target takes all that
  /// remain, so it has to come last.
  template <class T, class Parse>
  command& argument(std::string_view word, T& target, std::string_view help, Parse parse) {
    return add_argument(word, help,
                        store_in(target, std::string(bare_word(word)), std::move(parse)),
                        takes_many<T>);
  }

  /// Everything after "--" goes to `target` untouched: another program's command line.
  enum class rest { optional, required };
  command& takes_command(std::vector<std::string>& target, rest need = rest::required);

  /// The standard --json. `target` says whether it was given.
  command& offers_json(bool& target);

  /// A command below this one. The reference stays valid as long as this command.
  command& add_command(std::string name, std::string summary);

  /// Runs when the command line selects this command; data goes to `out`. May throw (see app::run).
  command& action(std::function<exit_code(std::ostream& out)> run);

  [[nodiscard]] const command_spec& spec() const noexcept { return *spec_; }

 private:
  static std::string_view long_word(std::string_view words);
  static std::string_view bare_word(std::string_view word);
  command& add_option(std::string_view words, std::string_view help,
                      std::function<void(std::string_view)> accept, bool repeated,
                      const option_traits& traits);
  command& add_argument(std::string_view word, std::string_view help,
                        std::function<void(std::string_view)> accept, bool repeated);

  std::unique_ptr<command_spec> spec_;
};

}  // namespace xenpv::cli
