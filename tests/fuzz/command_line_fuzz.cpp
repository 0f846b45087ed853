// Command lines, with one argument per line: each command exits with a documented status, and an
// error message names the program or is a JSON object.
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "cli/app.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> arguments;
  for (const auto argument : xenpv::split(text, '\n'))
    arguments.emplace_back(argument);

  using xenpv::cli::exit_code;
  xenpv::cli::app app("p", "a program");
  std::vector<std::string> many;
  std::vector<std::string> rest;
  std::uint64_t number = 0;
  bool flag = false;
  app.add_command("run", "run")
      .option("-m, --many TEXT", many, "texts", xenpv::cli::as_text)
      .option("--number N", number, "number", xenpv::parse_size)
      .flag("-f, --flag", flag, "flag")
      .takes_command(rest)
      .action([](std::ostream&) { return exit_code::ok; });
  app.add_command("list", "list")
      .argument("[NAME]", many, "names", xenpv::cli::as_text)
      .action([](std::ostream&) { return exit_code::ok; });

  std::ostringstream out;
  std::ostringstream err;
  const auto status = app.run(arguments, out, err);
  require(status == exit_code::ok || status == exit_code::usage);
  // With --log json, it is a JSON object.
  const auto message = err.str();
  const bool is_error = message.starts_with("p: ") || message.starts_with("{");
  require((status == exit_code::usage) == is_error);
  return 0;
}
