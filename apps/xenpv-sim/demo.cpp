#include <ostream>

#include "cli/value.hpp"
#include "commands.hpp"
#include "domain_process.hpp"
#include "sim/admin_service.hpp"
#include "sim/host_process.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim_app {
namespace {

cli::exit_code demo(std::uint32_t count) {
  adopt_orphans();
  auto host = sim::host_process::start({});
  const auto self = std::filesystem::read_symlink("/proc/self/exe").string();
  const domid guest{1};
  const auto server = spawn_in_domain(sim::ask_domain_directory(host.directory(), domid_0),
                                      {self, "ping", "--serve", "--peer", "1"});
  const auto client = spawn_in_domain(sim::ask_domain_directory(host.directory(), guest),
                                      {self, "ping", "--count", std::to_string(count)});
  const int client_status = wait_for(client);
  const int server_status = wait_for(server);
  host.stop();
  end_orphans();
  return static_cast<cli::exit_code>(client_status != 0 ? client_status : server_status);
}

}  // namespace

void add_demo(cli::app& app) {
  static std::uint32_t count = 0;
  app.add_command("demo", "run a ping between two domains of a simulated host")
      .describe(
          "Runs `ping --serve` in domain 0 and `ping` in domain 1, and prints a one-line latency "
          "summary.")
      .option("--count N", count, "number of round trips",
              cli::whole_number<std::uint32_t>(1, 100'000'000), {.by_default = "10000"})
      .action([](std::ostream&) { return demo(count); });
}

}  // namespace xenpv::sim_app
