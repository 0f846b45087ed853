#include "cli/app.hpp"

#include <fmt/format.h>

#include <array>
#include <iostream>

#include "cli/pages.hpp"
#include "cli/parser.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::cli {
namespace {

/// Handles the options that --help does not list, for completion scripts and the build. They must
/// come last, after sub-commands only, so that the value of another option cannot be mistaken for
/// one of them.
bool handle_unlisted(const command_spec& root, const exit_statuses& statuses,
                     std::span<const std::string> arguments, std::ostream& out) {
  if (arguments.empty()) return false;
  const auto names = arguments.first(arguments.size() - 1);
  const auto path = find_path(root, names);
  if (path.size() != names.size() + 1) return false;

  constexpr std::array lists = {std::pair{"--long-options", word_list::long_options},
                                std::pair{"--short-options", word_list::short_options},
                                std::pair{"--subcommands", word_list::commands}};
  for (const auto& [name, list] : lists) {
    if (arguments.back() != name) continue;
    out << words_page(path, list);
    return true;
  }
  if (arguments.back() != "--help-man") return false;
  out << manual_page(root, statuses, XENPV_VERSION);
  return true;
}

}  // namespace

struct app::common_options {
  bool help = false;
  bool version = false;
  log_format format = log_format::text;
  log_level level = log_level::info;
};

app::app(std::string name, std::string summary)
    : root_(std::move(name), std::move(summary)), common_(std::make_unique<common_options>()) {
  root_.flag("-h, --help", common_->help, "show this text and exit")
      .flag("--version", common_->version, "show the version and exit")
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
  return static_cast<int>(run(arguments, std::cout, std::cerr));
}

exit_code app::run(std::span<const std::string> arguments, std::ostream& out, std::ostream& err) {
  const auto& program = root_.spec().name;
  const auto failed = static_cast<exit_code>(statuses_.failed);
  const auto usage = static_cast<exit_code>(statuses_.usage);
  const auto hint = [&] {
    const auto mark = std::find(arguments.begin(), arguments.end(), "--");
    const auto path = find_path(
        root_.spec(), arguments.first(static_cast<std::size_t>(mark - arguments.begin())));
    err << fmt::format("try '{} --help'\n", path.back()->name);
  };
  try {
    const auto status = execute(arguments, out);
    out.flush();
    if (out) return status;
    err << fmt::format("{}: cannot write to standard output\n", program);
    return failed;
  } catch (const usage_error& e) {
    err << fmt::format("{}: {}\n", program, e.what());
    hint();
    return usage;
  } catch (const failure& e) {
    err << fmt::format("{}: {}\n", program, e.what());
    const auto status = to_exit_code(e.code());
    if (status == exit_code::not_possible) return status;
    if (status != exit_code::usage) return failed;
    hint();
    return usage;
  } catch (const std::exception& e) {
    err << fmt::format("{}: {}\n", program, e.what());
    return failed;
  }
}

exit_code app::execute(std::span<const std::string> arguments, std::ostream& out) {
  const auto& root = root_.spec();
  if (handle_unlisted(root, statuses_, arguments, out)) return exit_code::ok;
  const auto line = parse_line(root, arguments);
  if (line.has("--help")) {
    out << help_page(line.path);
    return exit_code::ok;
  }
  if (line.has("--version")) {
    out << fmt::format("{} {}\n", root.name, XENPV_VERSION);
    return exit_code::ok;
  }
  store_values(line);
  set_up_log(root.name, common_->level, common_->format);
  return line.selected().action(out);
}

}  // namespace xenpv::cli
