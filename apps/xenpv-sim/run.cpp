#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "block_backend.hpp"
#include "commands.hpp"
#include "domain_process.hpp"
#include "host_options.hpp"
#include "sim/admin_service.hpp"
#include "sim/host_process.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::sim_app {
namespace {

struct run_words {
  host_words host;
  domid domain{1};
  std::string report;
  std::vector<std::string> command;
};

/// Says what the host has to complain about, and writes the report if one was asked for.
void report_on(const sim::host_process& host, const std::string& path) {
  const auto text = sim::ask_host(host.directory(), R"({"command":"status"})");
  const auto status = nlohmann::ordered_json::parse(text);
  if (const auto& bugs = status.at("kernel_bugs"); !bugs.empty())
    log().warn("the simulated host recorded {} kernel BUG(s); a real guest would need a reboot",
               bugs.size());
  if (path.empty()) return;
  std::ofstream file(path);
  file << status.dump(2) << '\n';
  if (!file.flush()) throw_errno("write " + path);
}

cli::exit_code run(const run_words& words) {
  adopt_orphans();
  const auto options = to_options(words.host);
  auto host = sim::host_process::start(options);
  std::optional<pid_t> backend;
  if (!options.disks.empty()) backend = start_block_backend(host.directory(), manner::talkative);
  const auto directory = sim::ask_domain_directory(host.directory(), words.domain);
  const int status = wait_for(spawn_in_domain(directory, words.command));
  report_on(host, words.report);
  if (backend) end_block_backend(*backend);
  // The host goes before the others: what the domain's processes still hold then vanishes as at
  // power-off.
  host.stop();
  end_orphans();
  return static_cast<cli::exit_code>(status);
}

}  // namespace

void add_run(cli::app& app) {
  static run_words words;
  auto& command = app.add_command("run", "start a host, run a command in a guest, clean up");
  command
      .describe(
          "Starts a simulated host, runs CMD as a process of domain 1 and ends with CMD's exit "
          "status. Everything CMD "
          "left running in the background ends with the host.")
      .example("xenstore as a guest sees it", "xenpv-sim run -- xenstore-ls")
      .example("a shell in the guest", "xenpv-sim run -- sh")
      .example("every third event gets lost",
               "xenpv-sim run --fault event-lost=1/3 -- ./my-driver-test")
      .option("--domain N", words.domain, "the domain CMD runs in",
              cli::whole_number<domid>(0, 0x7FEF), {.by_default = "1"})
      .option("--report FILE", words.report,
              "write the host's final status as JSON: ports and pages left, kernel BUGs recorded",
              cli::as_text)
      .takes_command(words.command);
  add_host_options(command, words.host);
  command.action([](std::ostream&) { return run(words); });
}

}  // namespace xenpv::sim_app
