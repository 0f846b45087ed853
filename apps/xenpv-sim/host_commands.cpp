#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "block_backend.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "domain_process.hpp"
#include "host_directory.hpp"
#include "host_options.hpp"
#include "sim/admin_service.hpp"
#include "sim/host_process.hpp"

namespace xenpv::sim_app {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t domid_max = 0x7FEF;

/// The option values shared by these commands. Each process runs only one command.
struct host_command_options {
  host_settings host;
  std::string directory;
  std::string domain;
  std::optional<domid> number;
  bool keep = false;
  bool intercept = false;
  std::chrono::nanoseconds frozen{};
  std::chrono::nanoseconds suspended{};
  std::uint32_t virq = 0;
  std::vector<std::string> specs;
  std::vector<std::string> command;
};

host_command_options& host_arguments() {
  static host_command_options instance;
  return instance;
}

std::filesystem::path addressed_host() {
  return running_host(host_arguments().directory);
}

ordered_json ask(const ordered_json& request) {
  return ordered_json::parse(sim::ask_host(addressed_host(), request.dump()));
}

/// Returns the domain ID of DOMAIN.
std::uint16_t domain_number() {
  return raw(sim::find_domain(addressed_host(), host_arguments().domain).number);
}

cli::command& with_directory(cli::command& command) {
  return add_directory_option(command, host_arguments().directory);
}

cli::command& with_domain(cli::command& command) {
  return with_directory(command).argument("DOMAIN", host_arguments().domain,
                                          std::string(domain_help), cli::as_text);
}

void add_start(cli::app& app) {
  auto& command = app.add_command("start", "start a simulated host in the background");
  command
      .describe(
          "DIR must be empty or must not exist. It will contain Unix sockets, so its path must be "
          "short.")
      .describe(
          "The guests are called guest-1, guest-2 and so on, after their first domain IDs. Save "
          "and restore may change the ID, but not the name.")
      .example("start a host with two guests", "xenpv-sim start --domains 2");
  with_directory(command);
  add_host_options(command, host_arguments().host);
  command.action([](std::ostream&) {
    auto options = to_options(host_arguments().host);
    options.directory = new_host(host_arguments().directory);
    sim::host_process::start_daemon(options);
    try {
      (void)start_backends(options.directory, options.disks, log_mode::silent);
    } catch (...) {
      sim::stop_host(options.directory);
      remove_default_directory(options.directory);
      throw;
    }
    return cli::exit_code::ok;
  });
}

void add_exec(cli::app& app) {
  auto& command = app.add_command("exec", "run a command in a domain of a running host");
  command.example("list xenstore from domain 0", "xenpv-sim exec --domain 0 -- xenstore-ls");
  with_directory(command)
      .option("--domain DOMAIN", host_arguments().domain, std::string(domain_help), cli::as_text,
              {.by_default = std::string(first_guest)})
      .flag(intercept_flag, host_arguments().intercept, intercept_help)
      .takes_command(host_arguments().command)
      .action([](std::ostream&) {
        const auto& arguments = host_arguments();
        const auto directory = sim::find_domain(addressed_host(), arguments.domain).directory;
        if (!arguments.intercept) execute_in_domain(directory, arguments.command);
        return static_cast<cli::exit_code>(run_intercepted(directory, arguments.command));
      });
}

void add_domain(cli::app& app) {
  auto& command = app.add_command("domain", "create, destroy, save and restore domains");
  auto& create = command.add_command("create", "create a domain and print its domain ID");
  with_directory(create)
      .option("--number N", host_arguments().number, "domain ID (default: the next free one)",
              cli::whole_number<domid>(1, domid_max))
      .action([](std::ostream& out) {
        ordered_json request{{"command", "create"}};
        if (host_arguments().number) request["domid"] = raw(*host_arguments().number);
        out << ask(request).at("domid") << '\n';
        return cli::exit_code::ok;
      });
  auto& destroy = command.add_command("destroy", "kill a domain and its processes");
  with_domain(destroy).action([](std::ostream&) {
    (void)ask({{"command", "destroy"}, {"domid", domain_number()}});
    return cli::exit_code::ok;
  });
  auto& restore =
      command.add_command("save-restore", "save and restore a domain and print its domain ID");
  restore.describe(
      "Has the same effects as xl save followed by xl restore: the event-channel handles of the "
      "domain's processes become stale, its grants are lost, its device directories in xenstore "
      "are created again, and all watches fire once.");
  with_domain(restore)
      .flag("--same-number", host_arguments().keep, "keep the domain ID (default: a new one)")
      .option("--frozen TIME", host_arguments().frozen,
              "how long the domain's processes are stopped", parse_duration, {.by_default = "0"})
      .action([](std::ostream& out) {
        const auto frozen =
            std::chrono::ceil<std::chrono::milliseconds>(host_arguments().frozen).count();
        out << ask({{"command", "save-restore"},
                    {"domid", domain_number()},
                    {"keep", host_arguments().keep},
                    {"frozen_ms", frozen}})
                   .at("domid")
            << '\n';
        return cli::exit_code::ok;
      });
  auto& checkpoint = command.add_command(
      "checkpoint", "suspend a domain and cancel the suspend, as xl save -c does");
  checkpoint.describe("The domain's processes stop for a while; nothing else changes.");
  with_domain(checkpoint)
      .option("--frozen TIME", host_arguments().suspended,
              "how long the domain's processes are stopped", parse_duration,
              {.by_default = "100ms"})
      .action([](std::ostream&) {
        const auto frozen =
            std::chrono::ceil<std::chrono::milliseconds>(host_arguments().suspended).count();
        (void)ask({{"command", "checkpoint"}, {"domid", domain_number()}, {"frozen_ms", frozen}});
        return cli::exit_code::ok;
      });
}

void add_others(cli::app& app) {
  auto& fault = app.add_command("fault", "inject faults into a running host");
  with_directory(fault)
      .argument("SPEC", host_arguments().specs,
                "a fault, as for `start --fault`; 'none' clears all faults", cli::as_text)
      .action([](std::ostream&) {
        (void)ask({{"command", "fault"}, {"specs", host_arguments().specs}});
        return cli::exit_code::ok;
      });
  auto& status = app.add_command("status", "print the state of a running host as JSON");
  with_directory(status).action([](std::ostream& out) {
    auto answer = ask({{"command", "status"}});
    answer.erase("ok");
    out << answer.dump(2) << '\n';
    return cli::exit_code::ok;
  });
  auto& virq = app.add_command("virq", "raise a virtual IRQ in a domain");
  with_domain(virq)
      .argument("VIRQ", host_arguments().virq, "VIRQ number",
                cli::whole_number<std::uint32_t>(0, 23))
      .action([](std::ostream&) {
        (void)ask(
            {{"command", "virq"}, {"domid", domain_number()}, {"virq", host_arguments().virq}});
        return cli::exit_code::ok;
      });
  auto& stop = app.add_command("stop", "stop a running host");
  with_directory(stop).action([](std::ostream&) {
    const auto directory = addressed_host();
    sim::stop_host(directory);
    remove_default_directory(directory);
    return cli::exit_code::ok;
  });
}

}  // namespace

void add_host_commands(cli::app& app) {
  app.complete_values("DOMAIN", list_domains);
  add_start(app);
  add_exec(app);
  add_domain(app);
  add_others(app);
}

}  // namespace xenpv::sim_app
