// Options for TLS and for access: checks them, reads the credentials and the access list, and
// derives the TLS parts of client URIs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/command.hpp"
#include "xenpv/nbd/access_list.hpp"
#include "xenpv/nbd/tls_credentials.hpp"
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::disk_app {

struct tls_options {
  std::optional<nbd::tls_mode> mode;
  std::string certificates;
  std::string psk_file;
  bool verify_peer = false;
  std::string access_file;
};
/// Adds the options for TLS and --access.
void add_tls_options(cli::command& command, tls_options& options);

/// Throws errc::invalid_argument for conflicting options. Reads nothing.
void check_tls_options(const tls_options& options);

struct tls_settings {
  nbd::tls_mode mode = nbd::tls_mode::off;
  std::shared_ptr<const nbd::tls_credentials> credentials;
  std::shared_ptr<const nbd::access_list> access;  ///< null: no list
};
/// Reads the credentials and the access list, and logs warnings about them. Call it again to reload
/// them: a failure leaves the earlier settings valid. Throws `failure`: errc::invalid_argument for
/// conflicting options.
[[nodiscard]] tls_settings read_tls_settings(const tls_options& options);

/// The TLS parts of an NBD URI for a client on this machine, in libnbd syntax; all empty without
/// TLS.
struct tls_uri_parts {
  std::string scheme_suffix;  ///< "s" in nbds:// and nbds+unix://
  std::string user;           ///< "alice@": the first user with a key
  std::string query;          ///< "tls-psk-file=...", without ? or &
};
[[nodiscard]] tls_uri_parts make_uri_parts(const tls_options& options,
                                           const tls_settings& settings);

/// Percent-encodes the bytes in a path or name that a URI must not contain.
[[nodiscard]] std::string uri_part(std::string_view text);

/// Returns the options for nbd-client(8), quoted for a shell, with a leading blank. Returns nullopt
/// if nbd-client cannot connect because it does not support pre-shared keys.
[[nodiscard]] std::optional<std::string> nbd_client_options(const tls_options& options,
                                                            const tls_settings& settings);

}  // namespace xenpv::disk_app
