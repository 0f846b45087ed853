// The words about TLS of a command line: what they mean together, and how they show in the URIs
// that clients are told.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "xenpv/cli/command.hpp"
#include "xenpv/nbd/tls_credentials.hpp"
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::disk_app {

struct tls_words {
  std::optional<nbd::tls_mode> mode;
  std::string certificates;
  std::string psk_file;
  bool verify_peer = false;
};
void add_tls_options(cli::command& command, tls_words& words);

struct tls_settings {
  nbd::tls_mode mode = nbd::tls_mode::off;
  std::shared_ptr<const nbd::tls_credentials> credentials;
};
/// Reads the credentials. Throws `failure`: errc::invalid_argument for words that do not go
/// together.
[[nodiscard]] tls_settings read_tls_settings(const tls_words& words);

/// The parts of an NBD URI that say how a client on this machine gets through TLS, as libnbd takes
/// them; all empty without TLS.
struct tls_uri_parts {
  std::string scheme_suffix;  ///< "s" in nbds:// and nbds+unix://
  std::string user;           ///< "alice@": the first who has a key
  std::string query;          ///< "tls-psk-file=...", without ? or &
};
[[nodiscard]] tls_uri_parts make_uri_parts(const tls_words& words, const tls_settings& settings);

/// Bytes of a path or a name that a URI cannot hold as they are become %XX.
[[nodiscard]] std::string uri_part(std::string_view text);

/// What nbd-client(8) has to be told, with a blank in front; nullopt: it cannot get in, having no
/// pre-shared keys.
[[nodiscard]] std::optional<std::string> nbd_client_words(const tls_words& words,
                                                          const tls_settings& settings);

}  // namespace xenpv::disk_app
