#include <fmt/format.h>

#include "cli/exit_code.hpp"
#include "cli/pages.hpp"

namespace xenpv::cli {
namespace {

/// Escapes text that roff would interpret: a backslash or hyphen anywhere, a dot or quote at the
/// start of a line.
std::string literal(std::string_view text) {
  std::string roff;
  if (text.starts_with('.') || text.starts_with('\'')) roff += "\\&";
  for (const char c : text) {
    if (c == '[' && roff.ends_with(']'))
      roff += "\\:";  // allows a line break in a long sequence of [,option]
    if (c == '\\')
      roff += "\\e";
    else if (c == '-')
      roff += "\\-";
    else
      roff += c;
  }
  return roff;
}

/// Quotes a macro argument. It may contain spaces, but double quotes must be escaped.
std::string roff_quoted(std::string_view text) {
  std::string roff = "\"";
  for (const char c : literal(text)) {
    if (c == '"')
      roff += "\\(dq";
    else
      roff += c;
  }
  return roff + '"';
}

void add_paragraphs(std::string& page, const std::vector<std::string>& paragraphs) {
  for (const auto& paragraph : paragraphs)
    page += ".PP\n" + literal(paragraph) + '\n';
}

void add_options(std::string& page, const command_spec& spec) {
  for (const auto& argument : spec.arguments)
    page += fmt::format(".TP\n.I {}\n{}\n", roff_quoted(argument_label(argument)),
                        literal(argument.help));
  for (const auto& option : spec.options) {
    const auto names =
        option.short_name.empty() ? option.long_name : option.short_name + ", " + option.long_name;
    page += option.is_flag() ? fmt::format(".TP\n.B {}\n", roff_quoted(names))
                             : fmt::format(".TP\n.BI {} {}\n", roff_quoted(names + ' '),
                                           roff_quoted(option.value_name));
    page += literal(option_help(option)) + '\n';
  }
}

void add_examples(std::string& page, const command_spec& spec) {
  for (const auto& [explanation, line] : spec.examples)
    page += fmt::format(".PP\n{}:\n.PP\n.RS 4\n.nf\n{}\n.fi\n.RE\n", literal(explanation),
                        literal(line));
  for (const auto& child : spec.commands)
    add_examples(page, child->spec());
}

bool has_examples(const command_spec& spec) {
  if (!spec.examples.empty()) return true;
  for (const auto& child : spec.commands) {
    if (has_examples(child->spec())) return true;
  }
  return false;
}

void add_commands(std::string& page, const command_spec& spec) {
  for (const auto& child : spec.commands) {
    const auto& command = child->spec();
    page +=
        fmt::format(".SS {}\n{}.\n", roff_quoted(usage_line(command)), literal(command.summary));
    add_paragraphs(page, command.description);
    add_options(page, command);
    add_commands(page, command);
  }
}

void add_synopsis(std::string& page, const command_spec& spec) {
  if (spec.action) page += fmt::format(".PP\n.B {}\n", roff_quoted(usage_line(spec)));
  for (const auto& child : spec.commands)
    add_synopsis(page, child->spec());
}

void add_status(std::string& page, int status, std::string_view meaning) {
  page += fmt::format(".TP\n.B {}\n{}\n", status, literal(meaning));
}

void add_statuses(std::string& page, const exit_statuses& statuses) {
  page += ".SH EXIT STATUS\n";
  if (statuses.results.empty()) add_status(page, static_cast<int>(exit_code::ok), "Success.");
  for (const auto& result : statuses.results)
    add_status(page, result.status, result.text);
  add_status(page, statuses.failed, "The operation failed; a message on stderr gives the reason.");
  add_status(page, statuses.usage, "The command line is invalid; nothing was done.");
  add_status(page, static_cast<int>(exit_code::not_possible),
             "A requirement is missing on this machine; a message on stderr names it.");
}

void add_sections(std::string& page, const command_spec& root) {
  for (const auto& [title, entries] : root.sections) {
    page += fmt::format(".SH {}\n", literal(title));
    for (const auto& [name, text] : entries)
      page += fmt::format(".TP\n.B {}\n{}\n", roff_quoted(name), literal(text));
  }
}

void add_see_also(std::string& page, const command_spec& root) {
  page += ".SH SEE ALSO\n";
  for (const std::string_view name :
       {"xenpv-disk", "xenpv-doctor", "xenpv-evtchn", "xenpv-ipi", "xenpv-sim", "xenpv-timer"})
    if (name != root.name) page += fmt::format(".BR {} (1),\n", literal(name));
  page += ".BR xenpv\\-recovery (7),\n.BR xenpv\\-sim\\-testing (7)\n";
}

}  // namespace

std::string manual_page(const command_spec& root, const exit_statuses& statuses,
                        std::string_view version) {
  std::string title;
  for (const char c : root.name)
    title += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  auto page = fmt::format(".TH {} 1 \"\" {} \"User Commands\"\n", roff_quoted(title),
                          roff_quoted(fmt::format("xenpv {}", version)));
  // No justification and no hyphenation, so that options can be copied verbatim. Since groff 1.23,
  // each paragraph resets the adjustment to AD.
  page += ".nh\n.ad l\n.ds AD l\n";
  page += fmt::format(".SH NAME\n{} \\- {}\n", literal(root.name), literal(root.summary));
  page += ".SH SYNOPSIS\n";
  add_synopsis(page, root);
  if (!root.description.empty()) page += ".SH DESCRIPTION\n";
  add_paragraphs(page, root.description);
  if (!root.commands.empty()) page += ".SH COMMANDS\n";
  add_commands(page, root);
  page += ".SH OPTIONS\n";
  if (!root.commands.empty()) page += "Options may precede or follow the command.\n";
  add_options(page, root);
  add_statuses(page, statuses);
  add_sections(page, root);
  if (has_examples(root)) page += ".SH EXAMPLES\n";
  add_examples(page, root);
  add_see_also(page, root);
  return page;
}

}  // namespace xenpv::cli
