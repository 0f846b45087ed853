#include "host_options.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "base/shell_quote.hpp"
#include "block_backend.hpp"
#include "cli/value.hpp"
#include "sandbox/privileges.hpp"
#include "sim/backend_program.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim_app {
namespace {

result<uid_t> parse_user(std::string_view text, std::string_view) {
  const auto found = sandbox::find_user(std::string(text));
  if (!found)
    return make_error(errc::invalid_argument, fmt::format("user '{}'", text), "no such user");
  return found->uid;
}

/// Fails now rather than in the backend, which would leave the guest with a disk that never
/// connects.
void check_file(const sim::disk_spec& disk) {
  // With backend=exec:, the command may create the file.
  if (disk.path.empty() || disk.server == sim::disk_server::command) return;
  const unique_fd file(
      ::open(disk.path.c_str(), (disk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK));
  if (file) return;
  const int problem = errno;
  throw_errno(problem, fmt::format("disk {}: open {}", disk.name, disk.path),
              problem == ENOENT
                  ? fmt::format("create it: truncate -s 64M {}", shell_quote(disk.path))
              : problem == EACCES || problem == EROFS ? "add ,ro for a read-only disk"
                                                      : "");
}

}  // namespace

void add_host_options(cli::command& command, host_settings& settings) {
  command
      .option("--domains N", settings.options.guests,
              "number of guests; their domain IDs start at 1",
              cli::whole_number<unsigned>(0, sim::max_domains - 1), {.by_default = "1"})
      .option("--cpus N", settings.options.cpus, "vCPUs of each domain",
              cli::whole_number<unsigned>(1, 64), {.by_default = "2"})
      .option(
          "--disk SPEC", settings.options.disks,
          "give every guest a PV disk: VDEV,memory=SIZE|file=PATH|null=SIZE[,ro][,cdrom]"
          "[,sector=4096][,backend=" +
              wire::join_names(wire::backend_kinds, "|", "|") +
              "|qemu-real|exec:COMMAND][,type=TYPE][,queues=N][,order=N]"
              "[,indirect=N][,no-persistent][,no-flush][,no-barrier][,no-discard][,volatile][,vdi]"
              "[,fault=WORD...]; for WORD see `disk fault`",
          parse_served_disk)
      .option("--fault SPEC", settings.faults,
              "inject a fault: event-lost=P/N, event-doubled=P/N, event-delayed=TIME[:P/N], "
              "grant-refused=P/N, store-slow=TIME, store-fail=N, store-eagain=N, store-vanish=N",
              cli::as_text)
      .option("--xen VERSION", settings.options.version,
              "simulate the observable behaviour of Xen 4.17 or 4.20", sim::parse_xen_version,
              {.by_default = "4.17"})
      .option("--grant-limit PAGES", settings.options.grant_limit,
              "page limit of xen-gntalloc in each domain",
              cli::whole_number<std::uint32_t>(0, 1U << 16), {.by_default = "1024"})
      .flag("--guest-hypercalls", settings.options.guest_hypercalls,
            "let guests make hypercalls through privcmd, as on kernels without XSA-482 or with "
            "xen_privcmd.unrestricted=1; domain 0 always may")
      .option("--allow-user NAME", settings.options.allowed_user,
              "also let processes of this user join the domains, for programs that change their "
              "user (default: only the owner of the host and root)",
              parse_user)
      .option("--max-event-channels N", settings.options.max_channels,
              "highest event channel port of each domain (max_event_channels in xl.cfg)",
              cli::whole_number<std::uint32_t>(1, sim::max_ports - 1), {.by_default = "1023"});
}

sim::host_options to_options(const host_settings& settings) {
  auto options = settings.options;
  for (const auto& spec : settings.faults)
    sim::parse_fault(spec, options.faults).value();
  sim::check_disks(options.disks).value();
  sim::require_backends(options.disks);
  for (const auto& disk : options.disks)
    check_file(disk);
  return options;
}

}  // namespace xenpv::sim_app
