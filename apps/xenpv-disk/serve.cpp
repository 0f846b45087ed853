#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <ostream>

#include "claim.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "service.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::disk_app {
namespace {

struct serve_options {
  disk_options disk;
  std::vector<std::string> unix_paths;
  std::vector<nbd::tcp_address> tcp;
  mode_t socket_mode = 0600;
  std::string socket_group;
  std::string pid_file;
  tls_options tls;
};

result<mode_t> parse_mode(std::string_view text) {
  unsigned mode = 0;
  const bool is_octal = !text.empty() && text.size() <= 4 &&
                        text.find_first_not_of("01234567") == std::string_view::npos;
  if (!is_octal)
    return make_error(errc::invalid_argument, fmt::format("mode '{}'", text),
                      "expected an octal number such as 0660");
  for (const char digit : text)
    mode = mode * 8 + static_cast<unsigned>(digit - '0');
  return static_cast<mode_t>(mode);
}

std::optional<gid_t> find_group(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto* const entry = ::getgrnam(name.c_str());
  if (entry == nullptr)
    throw failure(errc::invalid_argument, fmt::format("group '{}'", name), "no such group");
  return entry->gr_gid;
}

/// True if other machines can connect.
bool is_exposed(const unique_fd& listener) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return false;
  if (bound.ss_family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(bound);
    return (ntohl(address.sin_addr.s_addr) >> 24U) != IN_LOOPBACKNET;
  }
  if (bound.ss_family != AF_INET6) return false;
  return !IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(bound).sin6_addr);
}

void warn_if_exposed(const endpoints& sockets, const tls_settings& tls) {
  if (tls.mode != nbd::tls_mode::off) return;
  if (std::ranges::none_of(sockets.listeners, is_exposed)) return;
  log().warn(
      "TLS is off, and other machines can connect: anyone who reaches the TCP port can read and "
      "write the disk, and anyone on the path can eavesdrop; use --tls-psk FILE to require a key, "
      "or --tcp localhost:PORT to allow only this machine");
}

/// Replaces port 0 in `options.tcp` with the port in use.
endpoints open_endpoints(serve_options& options, const claimed_disk& claimed,
                         const tls_uri_parts& tls) {
  endpoints out;
  const auto name = uri_part(claimed.export_name);
  const auto group = find_group(options.socket_group);
  auto paths = options.unix_paths;
  for (auto& inherited : nbd::inherited_listeners())
    out.listeners.push_back(std::move(inherited));
  if (paths.empty() && options.tcp.empty() && out.listeners.empty())
    paths.push_back(fmt::format("{}/{}.sock", runtime_directory(), claimed.disk.name));
  for (const auto& path : paths) {
    out.listeners.push_back(nbd::listen_unix(path, options.socket_mode, group));
    out.unix_paths.push_back(path);
    out.uris.push_back(fmt::format("nbd{}+unix://{}/{}?socket={}{}{}", tls.scheme_suffix, tls.user,
                                   name, uri_part(path), tls.query.empty() ? "" : "&", tls.query));
  }
  for (auto& address : options.tcp) {
    for (auto& socket : nbd::listen_tcp(address))
      out.listeners.push_back(std::move(socket));
    address.port = nbd::port_of(out.listeners.back());
    const auto host = address.host.empty() ? std::string("localhost") : address.host;
    const bool is_v6 = host.find(':') != std::string::npos;
    out.uris.push_back(fmt::format("nbd{}://{}{}:{}/{}{}{}", tls.scheme_suffix, tls.user,
                                   is_v6 ? "[" + host + "]" : host, address.port, name,
                                   tls.query.empty() ? "" : "?", tls.query));
  }
  return out;
}

/// Prints the addresses, and commands for another terminal. The block size must match the disk's
/// sector size; otherwise the kernel does not find the partitions.
void print_hints(std::ostream& out, const served_disk& disk, const serve_options& options,
                 const tls_settings& tls, const endpoints& sockets) {
  for (const auto& uri : sockets.uris)
    out << uri << '\n';
  out.flush();
  const auto client_options = nbd_client_options(options.tls, tls);
  if (!client_options) return;
  const auto sector = disk.device.shape().sector_size;
  const auto common = fmt::format("-N '{}' -b {}{}", disk.export_name, sector, *client_options);
  for (const auto& path : sockets.unix_paths)
    out << fmt::format("nbd-client -unix {} {} /dev/nbd0\n", path, common);
  for (const auto& address : options.tcp)
    out << fmt::format("nbd-client {} {} {} /dev/nbd0\n",
                       address.host.empty() ? "localhost" : address.host, address.port, common);
  out.flush();
}

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
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  pid_file(const pid_file&) = delete;
  pid_file& operator=(const pid_file&) = delete;

  void write() {
    if (path_.empty()) return;
    const auto text = fmt::format("{}\n", ::getpid());
    if (::ftruncate(file_.get(), 0) != 0 ||
        ::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
      throw_errno("write " + path_);
  }

 private:
  std::string path_;
  unique_fd file_;
};

/// The parts of a server that are prepared before it takes over its disk.
struct prepared_service {
  serve_options options;
  const tls_settings& tls;
  endpoints sockets;
  pid_file file;
};

asio::awaitable<void> run_service(prepared_service& ready, served_disk& disk, std::ostream& out) {
  ready.file.write();
  print_hints(out, disk, ready.options, ready.tls, ready.sockets);
  co_await serve_until_stopped(disk, std::move(ready.sockets), {});
}

disk_service prepare(serve_options options, const tls_settings& tls, const claimed_disk& claimed,
                     std::ostream& out) {
  auto sockets = open_endpoints(options, claimed, make_uri_parts(options.tls, tls));
  warn_if_exposed(sockets, tls);
  auto file = options.pid_file;
  auto ready = std::shared_ptr<prepared_service>(
      new prepared_service{std::move(options), tls, std::move(sockets), pid_file(std::move(file))});
  return [ready = std::move(ready), &out](served_disk& disk) {
    return run_service(*ready, disk, out);
  };
}

cli::exit_code serve(const serve_options& options, std::ostream& out) {
  // Reads the TLS files first, so that an invalid file is reported immediately.
  const auto tls = read_tls_settings(options.tls);
  with_served_disk(options.disk, tls, [&](const claimed_disk& claimed) {
    return prepare(options, tls, claimed, out);
  });
  return cli::exit_code::ok;
}

}  // namespace

void add_serve(cli::app& app) {
  static serve_options options;
  auto& command = app.add_command("serve", "serve a disk over NBD until stopped");
  command
      .describe(
          "Connects the disk and prints its addresses for clients: a URI for each address, then "
          "the nbd-client command that creates a block device. Without --unix or --tcp, listens on "
          "/run/xenpv/DISK.sock, or on the sockets passed by a service manager (LISTEN_FDS). With "
          "--take, the disk is taken over last, when everything else is ready, and returned to the "
          "kernel driver if it cannot be connected.")
      .describe(
          "SIGTERM or SIGINT stops the server: it accepts no new requests, answers those in flight "
          "(for at most 10 seconds), flushes, and closes its connection to the backend. A second "
          "signal disconnects clients immediately. If the server is killed, a helper process "
          "closes the disk.")
      .example("serve a disk that the kernel driver is using", "xenpv-disk serve xvdb --take")
      .example("serve over TCP, read-only",
               "xenpv-disk serve xvdb --tcp 127.0.0.1:10809 --read-only")
      .example("serve over the network to clients that have a key",
               "xenpv-disk serve xvdb --tcp :10809 --tls-psk /etc/xenpv/keys.psk");
  add_disk_options(command, options.disk);
  add_client_options(command, options.disk);
  command.option("--unix PATH", options.unix_paths, "listen on this Unix socket", cli::as_text)
      .option("--tcp HOST:PORT", options.tcp, "listen on this address", nbd::parse_tcp_address)
      .option("--socket-mode MODE", options.socket_mode, "permissions of Unix sockets", parse_mode,
              {.by_default = "0600"})
      .option("--socket-group GROUP", options.socket_group, "group of Unix sockets", cli::as_text)
      .option("--pid-file FILE", options.pid_file, "write the process ID when ready", cli::as_text);
  add_tls_options(command, options.tls);
  command.action([](std::ostream& out) { return serve(options, out); });
}

}  // namespace xenpv::disk_app
