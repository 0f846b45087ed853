// xenpv: all programs for guests in one executable, for systems that run from RAM. Like busybox, it
// selects the program by the name it was called by.
#include <array>
#include <cstdio>
#include <filesystem>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "cli/app.hpp"
#include "cli/value.hpp"
#include "dispatch.hpp"
#include "links.hpp"
#include "programs.hpp"
#include "xen/custodian_main.hpp"
#include "xenpv/base/error.hpp"

#ifdef XENPV_STATIC
#include <nss.h>
#endif

namespace xenpv::multi_call {
namespace {

constexpr auto applets = std::to_array<applet>({
    {"xenpv-disk", "disk", "serve a PV disk of this Xen guest over NBD", apps::run_disk},
    {"xenpv-doctor", "doctor", "is this Xen guest healthy?", apps::run_doctor},
    {"xenpv-evtchn", "evtchn", "list, measure and move the event channels of this Xen guest",
     apps::run_evtchn},
    {"xenpv-ipi", "ipi", "measure IPIs between the vCPUs of this Xen guest", apps::run_ipi},
    {"xenpv-timer", "timer", "measure how late the timers of this Xen guest are", apps::run_timer},
    {"xenpv-custodian", "", "", xen::custodian_main},
});

std::vector<std::string_view> names_of_links() {
  std::vector<std::string_view> out;
  for (const auto& entry : applets)
    if (entry.is_listed()) out.push_back(entry.name);
  return out;
}

struct own_options {
  bool list = false;
  std::string directory;
};

std::filesystem::path path_of_program() {
  std::error_code code;
  auto path = std::filesystem::read_symlink("/proc/self/exe", code);
  if (code) throw failure(code, "read the link /proc/self/exe", "is /proc mounted?");
  return path;
}

cli::exit_code run_own_options(const own_options& options, std::ostream& out) {
  if (!options.directory.empty())
    install_links(options.directory, path_of_program(), names_of_links());
  else if (options.list)
    for (const auto name : names_of_links())
      out << name << '\n';
  else
    throw failure(errc::invalid_argument, "run an applet", "its name is missing");
  return cli::exit_code::ok;
}

void describe(cli::command& command) {
  command
      .describe(
          "Contains the programs for Xen guests as applets. It acts as an applet if its own name "
          "is the applet's, by a link (xenpv-disk serve), or if the first argument is (xenpv disk "
          "serve, or xenpv xenpv-disk serve). An @ in front of its name does not matter.")
      .describe(
          "Statically linked, it needs no other file: no libraries, users, locales or terminal "
          "descriptions. It is its own xenpv-custodian. It looks up users and groups only in "
          "/etc/passwd and /etc/group, and host names in /etc/hosts and by DNS.")
      .manual_section("ENVIRONMENT", {{"XENPV_CUSTODIAN",
                                       "Path of another xenpv-custodian than the program itself."}})
      .example("create links for all applets", "xenpv --install /usr/bin")
      .example("attach a disk as a block device", "xenpv disk attach xvdb --take");
}

int run_itself(int argc, const char* const* argv) {
  cli::app app("xenpv", "the tools for Xen guests in one program");
  static own_options options;
  describe(app.root());
  app.root()
      .flag("--list", options.list, "list the names of the applets")
      .option("--install DIR", options.directory,
              "create symbolic links in DIR, one for each applet", cli::as_text)
      .action([](std::ostream& out) { return run_own_options(options, out); });
  for (const auto& entry : applets) {
    if (!entry.is_listed()) continue;
    app.add_command(std::string(entry.word), std::string(entry.summary))
        .describe("See " + std::string(entry.name) + "(1).")
        .action([](std::ostream&) -> cli::exit_code {
          throw failure(errc::invalid_argument, "run an applet",
                        "its name must be the first argument; its options follow");
        });
  }
  if (argc > 1) return app.run(argc, argv);
  constexpr std::array show_help = {"xenpv", "--help"};
  return app.run(static_cast<int>(show_help.size()), show_help.data());
}

/// Prevents glibc from loading name service (NSS) modules that /etc/nsswitch.conf names: they need
/// the shared glibc of the system. Statically linked programs contain the modules for files and
/// DNS.
void use_contained_name_services() {
#ifdef XENPV_STATIC
  for (const auto* const database : {"passwd", "group", "initgroups", "services"})
    ::__nss_configure_lookup(database, "files");
  ::__nss_configure_lookup("hosts", "files dns");
#endif
}

int run(int argc, char** argv) {
  use_contained_name_services();
  const auto selected = select_applet(applets, {argv, argv + argc});
  switch (selected.outcome) {
    case outcome::applet: {
      const auto skipped = static_cast<int>(selected.skipped);
      return selected.applet->run(argc - skipped, argv + skipped);
    }
    case outcome::own_options:
      return run_itself(argc, argv);
    case outcome::unknown_applet:
      break;
  }
  std::fprintf(stderr, "xenpv: no applet '%.*s' (applets: %s)\ntry 'xenpv --help'\n",
               static_cast<int>(selected.unknown.size()), selected.unknown.data(),
               listed_names(applets).c_str());
  return static_cast<int>(cli::exit_code::usage);
}

}  // namespace
}  // namespace xenpv::multi_call

int main(int argc, char** argv) {
  return xenpv::multi_call::run(argc, argv);
}
