#include "cli/app.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <sstream>

#include "base/log_output.hpp"
#include "base/utf8.hpp"
#include "cli/pages.hpp"
#include "cli/parser.hpp"
#include "cli/version.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::cli {
namespace {

/// True if the command line asks for a log in JSON. Used for a command line that is invalid, so
/// that its values have not been stored.
bool asks_for_json(std::span<const std::string> arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (arguments[i] == "--log=json") return true;
    if (arguments[i] == "--log" && i + 1 < arguments.size() && arguments[i + 1] == "json")
      return true;
  }
  return false;
}

}  // namespace

struct app::common_options {
  bool help = false;
  bool version = false;
  log_format format = log_format::text;
  log_level level = log_level::info;
  bool log_is_set_up = false;
};

app::app(std::string name, std::string summary)
    : root_(std::move(name), std::move(summary)), common_(std::make_unique<common_options>()) {
  root_.flag("-h, --help", common_->help, "show this text and exit")
      .flag("--version", common_->version, "show the version, commit and libraries, and exit")
      .option("--log FORMAT", common_->format, "log as text, or as json: one object per line",
              one_of<log_format>({{"text", log_format::text}, {"json", log_format::json}}),
              {.by_default = "text"})
      .option("--log-level LEVEL", common_->level,
              "minimum severity to log: error, warning, info or debug",
              one_of<log_level>({{"error", log_level::error},
                                 {"warning", log_level::warning},
                                 {"info", log_level::info},
                                 {"debug", log_level::debug}}),
              {.by_default = "info"});
}

app::~app() = default;

void app::set_exit_statuses(exit_statuses statuses) {
  statuses_ = std::move(statuses);
}

command& app::add_command(std::string name, std::string summary) {
  return root_.add_command(std::move(name), std::move(summary));
}

int app::run(int argc, const char* const* argv) {
  // argv[0] may be missing.
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  std::ostringstream messages;
  const auto status = run(arguments, std::cout, messages);
  // Not std::cerr: a server must exit even if its stderr is not read.
  write_message(messages.str());
  return static_cast<int>(status);
}

void app::complete_values(std::string value_name, completion_source list) {
  sources_.insert_or_assign(std::move(value_name), std::move(list));
}

exit_code app::run(std::span<const std::string> arguments, std::ostream& out, std::ostream& err) {
  const auto& program = root_.spec().name;
  const auto failed = static_cast<exit_code>(statuses_.failed);
  const auto usage = static_cast<exit_code>(statuses_.usage);
  const auto hint = [&] {
    const auto mark = std::find(arguments.begin(), arguments.end(), "--");
    const auto path = find_path(
        root_.spec(), arguments.first(static_cast<std::size_t>(mark - arguments.begin())));
    return fmt::format("try '{} --help'", path.back()->name);
  };
  const auto use_log_format = [&] {
    if (common_->log_is_set_up || !asks_for_json(arguments)) return;
    common_->format = log_format::json;
    set_up_log(program, log_level::error, log_format::json);
  };
  try {
    const auto status = execute(arguments, out);
    out.flush();
    if (out) return status;
    report(err, "cannot write to standard output", "");
    return failed;
  } catch (const usage_error& e) {
    use_log_format();
    report(err, e.what(), hint());
    return usage;
  } catch (const failure& e) {
    use_log_format();
    const auto status = to_exit_code(e.code());
    report(err, e.what(), status == exit_code::usage ? hint() : "");
    if (status == exit_code::not_possible) return status;
    return status == exit_code::usage ? usage : failed;
  } catch (const std::exception& e) {
    use_log_format();
    report(err, e.what(), "");
    return failed;
  }
}

void app::report(std::ostream& err, std::string_view problem, const std::string& hint) const {
  if (common_->format == log_format::json) {
    err << format_log_line(log_level::error, hint.empty() ? std::string(problem)
                                                          : fmt::format("{} ({})", problem, hint));
    return;
  }
  err << fmt::format("{}: {}\n", root_.spec().name, printable_lines(problem));
  if (!hint.empty()) err << hint << '\n';
}

exit_code app::execute(std::span<const std::string> arguments, std::ostream& out) {
  const auto& root = root_.spec();
  if (!arguments.empty() && arguments.front() == complete_option) {
    out << completion_page(root, sources_, arguments.subspan(1));
    return exit_code::ok;
  }
  // Accept --help-man only alone, so that an option's value cannot be mistaken for it.
  if (arguments.size() == 1 && arguments.front() == "--help-man") {
    out << manual_page(root, statuses_, XENPV_VERSION);
    return exit_code::ok;
  }
  const auto line = parse_line(root, arguments);
  if (line.has("--help")) {
    out << help_page(line.path);
    return exit_code::ok;
  }
  if (line.has("--version")) {
    out << version_page(root.name);
    return exit_code::ok;
  }
  store_values(line);
  set_up_log(root.name, common_->level, common_->format);
  common_->log_is_set_up = true;
  return line.selected().action(out);
}

}  // namespace xenpv::cli
