#include "serve_endpoints.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "base/shell_quote.hpp"
#include "claim.hpp"
#include "cli/value.hpp"

namespace xenpv::disk_app {
namespace {

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

/// True if the listener is a Unix socket to which users other than its owner and group can connect.
bool others_may_write(const unique_fd& listener) {
  sockaddr_un bound{};
  socklen_t size = sizeof bound;
  struct stat status {};
  return ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
         bound.sun_family == AF_UNIX && ::stat(bound.sun_path, &status) == 0 &&
         (status.st_mode & S_IWOTH) != 0;
}

/// Returns the URI of a host and port: "nbds://alice@[2001:db8::1]:10809/xvdb?...".
std::string network_uri(std::string_view scheme, std::string_view host, std::string_view port,
                        std::string_view name, const tls_uri_parts& tls) {
  const bool is_v6 = host.find(':') != std::string_view::npos;
  return fmt::format("{}://{}{}{}{}:{}/{}{}{}", scheme, tls.user, is_v6 ? "[" : "", host,
                     is_v6 ? "]" : "", port, name, tls.query.empty() ? "" : "?", tls.query);
}

/// Returns the URIs of one export, one for each address.
std::vector<std::string> uris_of(const std::string& export_name, const endpoint_options& options,
                                 const tls_uri_parts& tls, const endpoints& sockets) {
  std::vector<std::string> out;
  const auto name = uri_part(export_name);
  for (const auto& path : sockets.unix_paths)
    out.push_back(fmt::format("nbd{}+unix://{}/{}?socket={}{}{}", tls.scheme_suffix, tls.user, name,
                              uri_part(path), tls.query.empty() ? "" : "&", tls.query));
  for (const auto& address : options.tcp) {
    const auto host = address.host.empty() ? std::string("localhost") : address.host;
    out.push_back(
        network_uri(fmt::format("nbd{}", tls.scheme_suffix), host, address.port, name, tls));
  }
  for (const auto& address : options.vsock) {
    constexpr std::uint32_t local = 1;  // for clients on this machine
    const auto cid = address.cid ? *address.cid : nbd::local_vsock_cid().value_or(local);
    out.push_back(network_uri(fmt::format("nbd{}+vsock", tls.scheme_suffix), fmt::format("{}", cid),
                              fmt::format("{}", address.port), name, tls));
  }
  return out;
}

/// The block size must match the disk's sector size; otherwise the kernel does not find the
/// partitions.
void print_commands(std::ostream& out, const served_disk& disk, const export_spec& exported,
                    const endpoint_options& options, const std::string& client_options,
                    const endpoints& sockets) {
  const auto sector = disk.device.shape().sector_size;
  const auto kilobytes = disk.device.shape().preferred_transfer >> 10U;
  const auto common =
      fmt::format("-N {} -b {}{}", shell_quote(exported.name), sector, client_options);
  for (const auto& path : sockets.unix_paths)
    out << fmt::format("nbd-client -unix {} {} /dev/nbd0\n", shell_quote(path), common);
  for (const auto& address : options.tcp)
    out << fmt::format("nbd-client {} {} {} /dev/nbd0\n",
                       address.host.empty() ? "localhost" : shell_quote(address.host), address.port,
                       common);
  // The kernel splits the requests of an NBD device at 128 KiB unless it is told otherwise.
  if (kilobytes > 128 && !(sockets.unix_paths.empty() && options.tcp.empty()))
    out << fmt::format("echo {} >/sys/block/nbd0/queue/max_sectors_kb\n", kilobytes);
}

}  // namespace

endpoints open_endpoints(endpoint_options& options, const std::string& disk) {
  endpoints out;
  const auto group = find_group(options.socket_group);
  auto paths = options.unix_paths;
  for (auto& inherited : nbd::inherited_listeners())
    out.listeners.push_back(std::move(inherited));
  if (paths.empty() && options.tcp.empty() && options.vsock.empty() && out.listeners.empty())
    paths.push_back(fmt::format("{}/{}.sock", runtime_directory(), disk));
  for (const auto& path : paths) {
    out.listeners.push_back(nbd::listen_unix(path, options.socket_mode, group));
    // Clients may have another working directory.
    out.unix_paths.push_back(std::filesystem::absolute(path).string());
  }
  for (auto& address : options.tcp) {
    for (auto& socket : nbd::listen_tcp(address))
      out.listeners.push_back(std::move(socket));
    address.port = nbd::port_of(out.listeners.back());
  }
  for (auto& address : options.vsock) {
    out.listeners.push_back(nbd::listen_vsock(address));
    address.port = parse_whole<std::uint32_t>(nbd::port_of(out.listeners.back())).value();
  }
  return out;
}

nbd::reach reach_of(const endpoints& sockets) {
  auto out = nbd::reach::permitted_users;
  for (const auto& listener : sockets.listeners)
    out = std::max(
        out, nbd::reach_of(nbd::local_address_of(listener.get()), others_may_write(listener)));
  return out;
}

void print_hints(std::ostream& out, const disk_server& server, const endpoint_options& options,
                 const tls_options& tls, const tls_settings& settings, const endpoints& sockets) {
  const auto parts = make_uri_parts(tls, settings);
  for (const auto& disk : server.disks)
    for (const auto& exported : disk.claimed.exports)
      for (const auto& uri : uris_of(exported.name, options, parts, sockets))
        out << uri << '\n';
  out.flush();
  const auto client_options = nbd_client_options(tls, settings);
  if (!client_options) return;
  for (const auto& disk : server.disks)
    for (const auto& exported : disk.claimed.exports)
      print_commands(out, disk, exported, options, *client_options, sockets);
  out.flush();
}

void add_endpoint_options(cli::command& command, endpoint_options& options) {
  command.option("--unix PATH", options.unix_paths, "listen on this Unix socket", cli::as_text)
      .option("--tcp HOST:PORT", options.tcp, "listen on this address", nbd::parse_tcp_address)
      .option("-V, --vsock CID:PORT", options.vsock,
              "listen on this vsock port, or PORT alone for any context ID (CID)",
              nbd::parse_vsock_address)
      .option("--socket-mode MODE", options.socket_mode, "permissions of Unix sockets", parse_mode,
              {.by_default = "0600"})
      .option("--socket-group GROUP", options.socket_group, "group of Unix sockets", cli::as_text);
}

}  // namespace xenpv::disk_app
