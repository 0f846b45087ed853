#include "tls_options.hpp"

#include <fmt/format.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/shell_quote.hpp"
#include "cli/value.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

using nbd::tls_mode;

[[noreturn]] void refuse(std::string_view options, std::string_view remedy) {
  throw failure(make_error_code(errc::invalid_argument), options, remedy);
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::shared_ptr<const nbd::access_list> read_access_list(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || file.bad()) throw_errno("read " + path);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    log().warn("{}: other users can change it; run chmod go-w", path);
  return std::make_shared<const nbd::access_list>(nbd::access_list::parse(text, path).value());
}

}  // namespace

void add_tls_options(cli::command& command, tls_options& options) {
  command
      .describe(
          "TLS: with --tls-psk, clients need a key from FILE, which psktool -u USER -p FILE "
          "creates; with --tls-certificates, any client can connect, unless --tls-verify-peer "
          "requires a client certificate. Either makes TLS required; --tls on lets the client "
          "choose, so that a man in the middle can strip TLS.")
      .option("--tls MODE", options.mode,
              "off, on or require (default: require with keys or certificates, else off)",
              cli::one_of<tls_mode>(
                  {{"off", tls_mode::off}, {"on", tls_mode::on}, {"require", tls_mode::require}}))
      .option(
          "--tls-certificates DIR", options.certificates,
          "directory with server-cert.pem, server-key.pem, ca-cert.pem and, optionally, ca-crl.pem",
          cli::as_text)
      .option("--tls-psk FILE", options.psk_file,
              "file of pre-shared keys, with a line USER:KEY for each user", cli::as_text)
      .flag("--tls-verify-peer", options.verify_peer,
            "require a client certificate signed by ca-cert.pem")
      .describe(
          "Access: with --access, FILE lists the clients that may connect, by key, certificate or "
          "address, and which of them may write (see xenpv-access(5)); all others are refused.")
      .option("--access FILE", options.access_file, "allow only the clients in this list",
              cli::as_text);
}

void check_tls_options(const tls_options& options) {
  const bool has_certificates = !options.certificates.empty();
  const bool has_keys = !options.psk_file.empty();
  if (has_certificates && has_keys)
    refuse("--tls-certificates with --tls-psk",
           "clients authenticate with one or the other; choose one");
  if (options.verify_peer && !has_certificates)
    refuse("--tls-verify-peer without --tls-certificates",
           "it applies to clients' certificates; with --tls-psk, the key identifies the client");
  if (!has_certificates && !has_keys && options.mode.value_or(tls_mode::off) != tls_mode::off)
    refuse(fmt::format("--tls {}", *options.mode == tls_mode::on ? "on" : "require"),
           "it needs --tls-psk FILE or --tls-certificates DIR");
}

tls_settings read_tls_settings(const tls_options& options) {
  check_tls_options(options);
  tls_settings out;
  const bool has_any = !options.certificates.empty() || !options.psk_file.empty();
  out.mode = options.mode.value_or(has_any ? tls_mode::require : tls_mode::off);
  if (!options.access_file.empty()) out.access = read_access_list(options.access_file);
  if (out.mode == tls_mode::off) return out;
  out.credentials =
      options.psk_file.empty()
          ? nbd::tls_credentials::from_certificates(options.certificates, options.verify_peer)
          : nbd::tls_credentials::from_psk_file(options.psk_file);
  return out;
}

tls_uri_parts make_uri_parts(const tls_options& options, const tls_settings& settings) {
  tls_uri_parts out;
  if (settings.mode == tls_mode::off) return out;
  // A character instead of a string: for a string, GCC 12 at -O3 emits a false warning.
  out.scheme_suffix = 's';
  if (options.psk_file.empty()) {
    out.query = "tls-certificates=" + uri_part(absolute(options.certificates));
  } else {
    out.user = uri_part(settings.credentials->users().front()) + "@";
    out.query = "tls-psk-file=" + uri_part(absolute(options.psk_file));
  }
  return out;
}

std::string uri_part(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '/';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::optional<std::string> nbd_client_options(const tls_options& options,
                                              const tls_settings& settings) {
  if (settings.mode == tls_mode::off) return std::string();
  if (!options.psk_file.empty())
    return settings.mode == tls_mode::on ? std::optional<std::string>(std::string()) : std::nullopt;
  const auto directory = absolute(options.certificates);
  auto out = " -cacertfile " + shell_quote(directory + "/ca-cert.pem");
  if (options.verify_peer)
    out += fmt::format(" -certfile {} -keyfile {}", shell_quote(directory + "/client-cert.pem"),
                       shell_quote(directory + "/client-key.pem"));
  return out;
}

}  // namespace xenpv::disk_app
