// A small program with every kind of option. run() captures its output.
#pragma once

#include <chrono>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cli/app.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::cli::test {

struct outcome {
  exit_code status;
  std::string out;
  std::string err;
};

/// The program `vault` with the commands run (takes options and the command line of another
/// program), item list|remove (nested) and fail (throws).
class vault {
 public:
  vault() : program_("vault", "store things in a vault") {
    program_.root().describe("A vault stores things for its owner.");
    program_.add_command("run", "run a command in the vault")
        .describe("Runs COMMAND with the doors closed.")
        .example("List the contents", "vault run -d small -- ls -l")
        .option("-d, --door SPEC", doors, "add a door", as_text)
        .option("--wait TIME", wait, "how long the doors stay closed", parse_duration,
                {.by_default = "5s"})
        .option("--guests N", guests, "number of guests", whole_number<unsigned>(1, 8))
        .flag("-q, --quiet", quiet, "print nothing")
        .takes_command(inner)
        .action([this](std::ostream& out) {
          out << "ran\n";
          return static_cast<exit_code>(inner_status);
        });
    auto& item = program_.add_command("item", "manage the contents");
    item.add_command("list", "list them").offers_json(json_output).action([](std::ostream& out) {
      out << "a thing\n";
      return exit_code::ok;
    });
    item.add_command("remove", "remove one")
        .argument("NAME", name, "the thing", as_text)
        .argument("[REASON]", reasons, "why", as_text)
        .option("--key DOMAIN", key, "domain of the key", whole_number<domid>(0, 65535),
                {.required = true})
        .action([](std::ostream&) { return exit_code::ok; });
    program_.add_command("fail", "fail").action([this](std::ostream&) -> exit_code {
      fail();
      return exit_code::ok;
    });
  }

  outcome run(const std::vector<std::string>& arguments) {
    std::ostringstream out;
    std::ostringstream err;
    const auto status = program_.run(arguments, out, err);
    return {status, out.str(), err.str()};
  }

  /// Declares exit statuses 0 and 2 as results, like a monitoring check.
  void use_check_statuses() {
    program_.set_exit_statuses(
        {.results = {{0, "No alarm."}, {2, "Alarm."}}, .failed = 70, .usage = 64});
  }

  std::vector<std::string> doors;
  std::chrono::nanoseconds wait{};
  std::optional<unsigned> guests;
  bool quiet = false;
  std::vector<std::string> inner;
  int inner_status = 0;
  bool json_output = false;
  std::string name;
  std::vector<std::string> reasons;
  domid key{};
  std::function<void()> fail = [] {};

  void complete_values(std::string value_name, completion_source source) {
    program_.complete_values(std::move(value_name), std::move(source));
  }

 private:
  app program_;
};

}  // namespace xenpv::cli::test
