#include "tls_words.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "xenpv/cli/value.hpp"

namespace xenpv::disk_app {
namespace {

using nbd::tls_mode;

[[noreturn]] void refuse(std::string_view words, std::string_view cure) {
  throw failure(make_error_code(errc::invalid_argument), words, cure);
}

void check(const tls_words& words) {
  const bool has_certificates = !words.certificates.empty();
  const bool has_keys = !words.psk_file.empty();
  if (has_certificates && has_keys)
    refuse("--tls-certificates with --tls-psk", "clients get in by one or the other; name one");
  if (words.verify_peer && !has_certificates)
    refuse("--tls-verify-peer without --tls-certificates",
           "it is about clients' certificates; with --tls-psk their key tells who they are");
  if (!has_certificates && !has_keys && words.mode.value_or(tls_mode::off) != tls_mode::off)
    refuse(fmt::format("--tls {}", *words.mode == tls_mode::on ? "on" : "require"),
           "it needs --tls-psk FILE or --tls-certificates DIR");
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

}  // namespace

void add_tls_options(cli::command& command, tls_words& words) {
  command
      .describe(
          "TLS: with --tls-psk clients get in with a key of FILE, which psktool -u USER -p FILE "
          "makes; with --tls-certificates they get in with any certificate or none, unless "
          "--tls-verify-peer asks for one. Either makes TLS required; --tls on leaves it to the "
          "client, and then somebody on the way can talk both sides out of it.")
      .option("--tls MODE", words.mode,
              "off, on or require (default: require with keys or certificates, else off)",
              cli::one_of<tls_mode>(
                  {{"off", tls_mode::off}, {"on", tls_mode::on}, {"require", tls_mode::require}}))
      .option("--tls-certificates DIR", words.certificates,
              "has server-cert.pem, server-key.pem, ca-cert.pem and, if need be, ca-crl.pem",
              cli::as_text)
      .option("--tls-psk FILE", words.psk_file,
              "has pre-shared keys, a line USER:KEY for each user", cli::as_text)
      .flag("--tls-verify-peer", words.verify_peer,
            "ask clients for a certificate that ca-cert.pem has signed");
}

tls_settings read_tls_settings(const tls_words& words) {
  check(words);
  tls_settings out;
  const bool has_any = !words.certificates.empty() || !words.psk_file.empty();
  out.mode = words.mode.value_or(has_any ? tls_mode::require : tls_mode::off);
  if (out.mode == tls_mode::off) return out;
  out.credentials = words.psk_file.empty() ? nbd::tls_credentials::from_certificates(
                                                 words.certificates, words.verify_peer)
                                           : nbd::tls_credentials::from_psk_file(words.psk_file);
  return out;
}

tls_uri_parts make_uri_parts(const tls_words& words, const tls_settings& settings) {
  tls_uri_parts out;
  if (settings.mode == tls_mode::off) return out;
  // A letter, not a string of one: at -O3 GCC 12 warns of its own copying.
  out.scheme_suffix = 's';
  if (words.psk_file.empty()) {
    out.query = "tls-certificates=" + uri_part(absolute(words.certificates));
  } else {
    out.user = uri_part(settings.credentials->users().front()) + "@";
    out.query = "tls-psk-file=" + uri_part(absolute(words.psk_file));
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

std::optional<std::string> nbd_client_words(const tls_words& words, const tls_settings& settings) {
  if (settings.mode == tls_mode::off) return std::string();
  if (!words.psk_file.empty())
    return settings.mode == tls_mode::on ? std::optional<std::string>(std::string()) : std::nullopt;
  const auto directory = absolute(words.certificates);
  auto out = fmt::format(" -cacertfile {}/ca-cert.pem", directory);
  if (words.verify_peer)
    out += fmt::format(" -certfile {0}/client-cert.pem -keyfile {0}/client-key.pem", directory);
  return out;
}

}  // namespace xenpv::disk_app
