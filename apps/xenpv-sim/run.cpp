#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/output_file.hpp"
#include "block_backend.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "domain_process.hpp"
#include "host_directory.hpp"
#include "host_options.hpp"
#include "sim/admin_service.hpp"
#include "sim/host_process.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim_app {
namespace {

struct run_options {
  host_settings host;
  std::string domain;
  std::string report;
  bool intercept = false;
  std::vector<std::string> command;
};

/// Logs a warning if kernel BUGs were recorded, and writes the report if `path` is not empty.
void write_report(const sim::host_process& host, const std::string& path) {
  const auto text = sim::ask_host(host.directory(), R"({"command":"status"})");
  const auto status = nlohmann::ordered_json::parse(text);
  if (const auto& bugs = status.at("kernel_bugs"); !bugs.empty())
    log().warn("the simulated host recorded {} kernel BUG(s); a real guest would need a reboot",
               bugs.size());
  if (path.empty()) return;
  write_output(path, status.dump(2) + "\n", output_access::by_umask, std::cout);
  std::cout.flush();
}

cli::exit_code run(const run_options& options) {
  adopt_orphans();
  const auto host_config = to_options(options.host);
  auto host = sim::host_process::start(host_config);
  std::optional<pid_t> backend;
  int status = 0;
  try {
    backend = start_backends(host.directory(), host_config.disks, log_mode::verbose);
    const auto directory = sim::find_domain(host.directory(), options.domain).directory;
    status = options.intercept ? run_intercepted(directory, options.command)
                               : wait_for(spawn_in_domain(directory, options.command));
  } catch (...) {
    host.stop();
    end_orphans();
    throw;
  }
  write_report(host, options.report);
  if (backend) end_block_backend(*backend);
  // Stop the host first: resources that the domain's processes still use must disappear as at a
  // power-off.
  host.stop();
  end_orphans();
  return static_cast<cli::exit_code>(status);
}

}  // namespace

void add_run(cli::app& app) {
  static run_options options;
  auto& command = app.add_command("run", "start a host, run a command in a guest, clean up");
  command
      .describe(
          "Runs CMD as a process of domain 1 on a new simulated host, and exits with the status of "
          "CMD. Background processes left by CMD are killed when the host stops.")
      .example("list xenstore from a guest", "xenpv-sim run -- xenstore-ls -f /local/domain/1")
      .example("start a shell in the guest", "xenpv-sim run -- sh")
      .example("lose every third event", "xenpv-sim run --fault event-lost=1/3 -- ./my-driver-test")
      .option("--domain DOMAIN", options.domain,
              "name or ID of the domain in which to run CMD: Domain-0, guest-1, guest-2, ...",
              cli::as_text, {.by_default = std::string(first_guest)})
      .option("--report FILE", options.report,
              "write the final state of the host as JSON: remaining ports and pages, recorded "
              "kernel BUGs",
              cli::as_text)
      .flag(intercept_flag, options.intercept, intercept_help)
      .takes_command(options.command);
  add_host_options(command, options.host);
  command.action([](std::ostream&) { return run(options); });
}

}  // namespace xenpv::sim_app
