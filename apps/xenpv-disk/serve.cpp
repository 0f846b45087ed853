#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <ostream>
#include <utility>

#include "base/log_output.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "nbd/exposure.hpp"
#include "serve_endpoints.hpp"
#include "service.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

struct serve_options {
  server_settings server;
  endpoint_options endpoints;
  std::string pid_file;
  tls_options tls;
  confinement_options confined;
};

/// A PID file. write() stores the process ID; the destructor removes the file. The constructor
/// opens the file so that an error is reported early.
class pid_file {
 public:
  explicit pid_file(std::string path) : path_(std::move(path)) {
    if (path_.empty()) return;
    file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (!file_) throw_errno("write " + path_);
  }
  ~pid_file() {
    if (!path_.empty()) remove_server_file(path_);
  }
  pid_file(const pid_file&) = delete;
  pid_file& operator=(const pid_file&) = delete;

  void write() {
    if (path_.empty()) return;
    const auto text = fmt::format("{}\n", ::getpid());
    if (::ftruncate(file_.get(), 0) != 0 ||
        ::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      throw_errno("write " + path_);
    // A server that an attacker controls must not be able to change it.
    file_.reset();
  }

 private:
  std::string path_;
  unique_fd file_;
};

/// Logs which clients can connect and write, unless the administrator has chosen all of them.
void report_exposure(nbd::reach listeners, const tls_options& options, const tls_settings& tls,
                     bool read_only) {
  nbd::exposure_facts facts;
  facts.listeners = listeners;
  facts.tls = tls.mode;
  facts.has_keys = !options.psk_file.empty();
  facts.verify_peer = options.verify_peer;
  facts.access = tls.access.get();
  facts.read_only = read_only;
  const auto found = nbd::describe_exposure(facts);
  if (!found) return;
  log().write(found->is_warning ? log_level::warning : log_level::info, "{}",
              fmt::make_format_args(found->text));
}

bool is_read_only(const claimed_disk& disk) {
  return disk.held.disk.mode == "r" || std::ranges::all_of(disk.exports, &export_spec::read_only);
}

/// The parts of a server that are prepared before it takes over its disks.
struct prepared_service {
  serve_options options;
  const tls_settings& tls;
  endpoints sockets;
  pid_file file;
  nbd::reach listeners;
  bool read_only;  ///< all exports
};

/// Reads the credentials and the access list again. Connected clients stay.
asio::awaitable<void> reload(const prepared_service& ready, nbd::server& server) {
  const auto tls = read_tls_settings(ready.options.tls);
  if (tls.mode != nbd::tls_mode::off) server.set_credentials(tls.credentials);
  server.set_access(tls.access);
  report_exposure(ready.listeners, ready.options.tls, tls, ready.read_only);
  co_return;
}

asio::awaitable<void> run_service(prepared_service& ready, disk_server& server, std::ostream& out) {
  ready.file.write();
  // Warnings appear before the addresses, as if there were no log thread.
  flush_log(std::chrono::milliseconds(250));
  print_hints(out, server, ready.options.endpoints, ready.options.tls, ready.tls, ready.sockets);
  service_work work;
  work.reload = [&] { return reload(ready, server.server); };
  co_await serve_until_stopped(server, std::move(ready.sockets), std::move(work));
}

/// Declares the files that the server needs when it has no privileges.
void declare_files(confinement& confined, const serve_options& options, const endpoints& sockets) {
  for (const auto& path : sockets.unix_paths)
    confined.add_removed(path);
  if (!options.pid_file.empty()) confined.add_removed(options.pid_file);
  confined.add_readable(options.tls.certificates);
  confined.add_readable(options.tls.psk_file);
  confined.add_readable(options.tls.access_file);
}

disk_service prepare(serve_options options, const claimed_disks& claimed, std::ostream& out) {
  const auto& tls = claimed.tls;
  auto sockets = open_endpoints(options.endpoints, claimed.disks.front().name());
  const bool read_only = std::ranges::all_of(claimed.disks, is_read_only);
  const auto listeners = reach_of(sockets);
  report_exposure(listeners, options.tls, tls, read_only);
  if (claimed.confined != nullptr) declare_files(*claimed.confined, options, sockets);
  auto file = options.pid_file;
  auto ready = std::shared_ptr<prepared_service>(
      new prepared_service{std::move(options), tls, std::move(sockets), pid_file(std::move(file)),
                           listeners, read_only});
  disk_service service;
  service.serve = [ready = std::move(ready), &out](disk_server& server) {
    return run_service(*ready, server, out);
  };
  return service;
}

cli::exit_code serve(const serve_options& options, std::ostream& out) {
  check_tls_options(options.tls);
  auto server = options.server;
  server.confined = options.confined;
  with_disk_server(server, options.tls,
                   [&](const claimed_disks& claimed) { return prepare(options, claimed, out); });
  return cli::exit_code::ok;
}

}  // namespace

void add_serve(cli::app& app) {
  static serve_options options;
  auto& command = app.add_command("serve", "serve disks over NBD until stopped");
  command
      .describe(
          "Connects each DISK and prints its addresses for clients: a URI for each address, then "
          "the nbd-client command that creates a block device, and the command that lets the "
          "kernel "
          "send that device larger requests, if the disk has them. Without --unix, --tcp or "
          "--vsock, "
          "listens on /run/xenpv/DISK.sock, where DISK is the first disk, or on the sockets passed "
          "by a service manager (LISTEN_FDS). With --take, the disks are taken over last, when "
          "everything else is ready, and returned to the kernel driver if one cannot be connected.")
      .describe(
          "Each DISK is an export, named after the disk, unless options follow it: "
          "DISK,name=EXPORT,read-only,offset=SIZE,size=SIZE,partition=N,default, in any order. A "
          "disk may be given several times, to export several parts of it. Clients that name no "
          "export get the one marked default, otherwise the first.")
      .describe(
          "SIGTERM or SIGINT stops the server: it accepts no new requests, answers those in flight "
          "(for at most 10 seconds), flushes, and closes its connection to the backend. A second "
          "signal disconnects clients immediately. Closing the terminal from which the server was "
          "started stops it in the same way, unless nohup(1) was used. If the server is killed, a "
          "helper process closes the disks.")
      .describe(
          "SIGHUP, or the reload command, reads the TLS files and the access list again. Connected "
          "clients stay; see the disconnect command. If a file is invalid, nothing changes. The "
          "server's user must be able to read the files.")
      .example("serve a disk that the kernel driver is using", "xenpv-disk serve xvdb --take")
      .example("serve over TCP, read-only",
               "xenpv-disk serve xvdb --tcp 127.0.0.1:10809 --read-only")
      .example("serve over the network to clients that have a key",
               "xenpv-disk serve xvdb --tcp :10809 --tls-psk /etc/xenpv/keys.psk")
      .example("serve a disk and, read-only, the first partition of another one",
               "xenpv-disk serve xvdb xvdc,partition=1,read-only");
  command.argument("DISK", options.server.exports, std::string(disk_help), parse_export);
  add_disk_options(command, options.server);
  add_client_options(command, options.server);
  add_endpoint_options(command, options.endpoints);
  command.option("--pid-file FILE", options.pid_file, "write the process ID when ready",
                 cli::as_text);
  add_tls_options(command, options.tls);
  add_confinement_options(command, options.confined);
  command.action([](std::ostream& out) { return serve(options, out); });
}

}  // namespace xenpv::disk_app
