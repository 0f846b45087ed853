// A hostile NBD client during option haggling: the server's state machine must not crash or hang,
// must send a bounded number of bytes per received byte and only complete replies, must stay in
// sync, and must behave the same for any fragmentation of the input.
//
// The first byte selects the configuration. The top bit of the second byte makes TLS succeed; the
// other bits are a fragment size. The remaining bytes are the client's data, sent in such
// fragments.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/negotiation.hpp"
#include "wire/nbd_message.hpp"

namespace {

using namespace xenpv::nbd;
using namespace xenpv::wire;
using action = negotiation_step::action;

void expect(bool promise, unsigned line = __builtin_LINE()) {
  if (promise) return;
  std::fprintf(stderr, "line %u: expectation violated\n", line);
  std::abort();
}

negotiation_options set_up(unsigned choice) {
  negotiation_options out;
  out.exports.resize(choice % 3);
  for (auto& entry : out.exports)
    entry.size = 1U << 20U;
  if (!out.exports.empty()) out.exports[0].name = "a";
  out.default_export = (choice & 4U) != 0 ? "a" : "";
  out.tls = static_cast<tls_mode>(choice / 8 % 3);
  out.structured_replies = (choice & 0x80U) == 0;
  return out;
}

struct outcome {
  std::vector<std::string> sent;
  action end = action::read_more;
  std::size_t rest = 0;
  bool is_violation = false;
  friend bool operator==(const outcome&, const outcome&) = default;
};

/// Checks that the bytes are the greeting, the reply to EXPORT_NAME, or one complete option reply.
void check_reply(const std::string& bytes) {
  if (bytes.size() == sizeof(nbd_greeting) || bytes.size() == sizeof(nbd_export_name_reply) ||
      bytes.size() == sizeof(nbd_export_name_reply) + nbd_export_name_zeroes)
    return;
  expect(bytes.size() >= sizeof(nbd_option_reply_header));
  nbd_option_reply_header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  expect(header.magic.value() == nbd_option_reply_magic);
  expect(header.length.value() == bytes.size() - sizeof header);
  expect(header.length.value() < 4096);
  if ((header.type.value() & 0x80000000U) != 0) expect(header.length.value() < 1024);
}

/// Runs the machine until it needs input or ends. `tls`: whether TLS handshakes succeed.
void run(negotiation& machine, outcome& out, bool tls) {
  for (;;) {
    auto step = machine.next();
    out.end = step.what;
    if (step.what == action::start_tls && tls) {
      machine.tls_started();
      continue;
    }
    if (step.what == action::admit) {
      machine.admit();
      continue;
    }
    if (step.what == action::close) {
      expect(!step.reason.empty());
      out.is_violation = step.is_violation;
    }
    if (step.what != action::send) return;
    check_reply(step.bytes);
    out.sent.push_back(std::move(step.bytes));
  }
}

outcome talk(const negotiation_options& options, std::string_view bytes, std::size_t at_once,
             bool tls) {
  negotiation machine(options);
  outcome out;
  run(machine, out, tls);
  while (out.end == action::read_more && !bytes.empty()) {
    const auto part = bytes.substr(0, at_once);
    bytes.remove_prefix(part.size());
    machine.feed(std::as_bytes(std::span(part)));
    run(machine, out, tls);
  }
  if (out.end == action::transmit) {
    expect(machine.agreed().export_index < options.exports.size());
    out.rest = machine.rest().size() + bytes.size();
  }
  return out;
}

/// Checks that the input bounds the output: an option takes at least 16 bytes, and its reply at
/// most lists the exports or describes one export.
void check_amount(const outcome& out, std::size_t sent) {
  std::size_t answered = 0;
  for (const auto& reply : out.sent)
    answered += reply.size();
  expect(answered <= 18 + 134 + (sent / 16 + 1) * 1200);
  expect(out.sent.size() <= 1 + (sent / 16 + 1) * 5);
}

/// Checks that the server answers an unknown option with arbitrary data, and the option after it.
void check_in_step(const negotiation_options& options, std::string_view junk) {
  junk = junk.substr(0, largest_option);
  std::string bytes("\0\0\0\3", 4);
  for (const auto& [number, data] : {std::pair{77U, junk}, std::pair{2U, std::string_view()}}) {
    const nbd_option_header header{be64(nbd_option_magic), be32(number),
                                   be32(static_cast<std::uint32_t>(data.size()))};
    bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
    bytes += data;
  }
  const auto out = talk(options, bytes, bytes.size(), false);
  expect(out.sent.size() == 3 && out.end == action::close && !out.is_violation);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto options = set_up(data[0]);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const bool tls = (data[1] & 0x80U) != 0;
  const auto at_once = talk(options, bytes, std::max<std::size_t>(bytes.size(), 1), tls);
  check_amount(at_once, bytes.size());
  const auto in_parts = talk(options, bytes, 1U + (data[1] & 0x7FU), tls);
  check_amount(in_parts, bytes.size());
  // With TLS, fragmentation matters: bytes received together with STARTTLS are plaintext; later
  // bytes are TLS records.
  if (options.tls == tls_mode::off) expect(at_once == in_parts);
  check_in_step(options, bytes);
  return 0;
}
