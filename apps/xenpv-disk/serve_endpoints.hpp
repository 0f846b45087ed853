// The addresses of the serve command: opens the listening sockets, and prints URIs and commands for
// clients. Does not accept clients.
#pragma once

#include <sys/types.h>

#include <iosfwd>
#include <string>
#include <vector>

#include "nbd/exposure.hpp"
#include "served_disk.hpp"
#include "service.hpp"
#include "tls_options.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::disk_app {

struct endpoint_options {
  std::vector<std::string> unix_paths;
  std::vector<nbd::tcp_address> tcp;
  std::vector<nbd::vsock_address> vsock;
  mode_t socket_mode = 0600;
  std::string socket_group;
};
/// Adds the options that set `options`.
void add_endpoint_options(cli::command& command, endpoint_options& options);

/// Opens all listening sockets. Without any, listens on the default path of the first disk.
/// Replaces port 0 in `options` with the port in use. Throws `failure`.
[[nodiscard]] endpoints open_endpoints(endpoint_options& options, const std::string& disk);

/// Returns the set of clients that can open a connection.
[[nodiscard]] nbd::reach reach_of(const endpoints& sockets);

/// Prints a URI for each address and export and, unless nbd-client does not support the kind of
/// TLS, the commands for another terminal.
void print_hints(std::ostream& out, const disk_server& server, const endpoint_options& options,
                 const tls_options& tls, const tls_settings& settings, const endpoints& sockets);

}  // namespace xenpv::disk_app
