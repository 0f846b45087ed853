// The negotiation state machine: parses messages and determines the next step.
// negotiation_answer.cpp handles the options.
#include "nbd/negotiation.hpp"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "wire/nbd_message.hpp"

namespace xenpv::nbd {
namespace {

template <class Part>
Part read_part(std::string_view bytes) noexcept {
  Part part;
  std::memcpy(&part, bytes.data(), sizeof part);
  return part;
}

std::string greeting() {
  const wire::nbd_greeting raw{
      wire::be64(wire::nbd_init_magic), wire::be64(wire::nbd_option_magic),
      wire::be16(wire::nbd_flag_fixed_newstyle | wire::nbd_flag_no_zeroes)};
  return {reinterpret_cast<const char*>(&raw), sizeof raw};
}

}  // namespace

negotiation::negotiation(negotiation_options options) : options_(std::move(options)) {
  if (!options_.agreed_beforehand) return;
  agreed_export_ = options_.exports.front();
  phase_ = phase::transmission;
}

void negotiation::feed(std::span<const std::byte> bytes) {
  input_.erase(0, std::exchange(consumed_, 0));
  input_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

negotiation_step negotiation::next() {
  for (;;) {
    if (!replies_.empty()) {
      negotiation_step step{action::send, std::move(replies_.front())};
      replies_.pop_front();
      return step;
    }
    switch (phase_) {
      case phase::greeting:
        phase_ = phase::flags;
        return {action::send, greeting()};
      case phase::flags:
        if (!take_flags()) return {action::read_more};
        break;
      case phase::options:
        if (!take_option()) return {action::read_more};
        break;
      case phase::tls:
        return {action::start_tls};
      case phase::admission:
        return {action::admit};
      case phase::transmission:
        return {action::transmit};
      case phase::closed:
        return {action::close, {}, reason_, is_violation_};
    }
  }
}

void negotiation::tls_started(access rights) {
  options_.rights = rights;
  // Keep the client's flags: the client does not send them again (section "STARTTLS").
  in_tls_ = true;
  agreed_ = {};
  input_.clear();
  consumed_ = 0;
  if (phase_ == phase::tls) phase_ = phase::options;
}

std::span<const std::byte> negotiation::rest() const noexcept {
  return std::as_bytes(std::span(input()));
}

std::string_view negotiation::input() const noexcept {
  return std::string_view(input_).substr(consumed_);
}

bool negotiation::take_flags() {
  const auto bytes = input();
  if (bytes.size() < sizeof(wire::be32)) return false;
  const auto flags = read_part<wire::be32>(bytes).value();
  consumed_ += sizeof(wire::be32);
  // Also serve a client that uses fixed newstyle without announcing it.
  if ((flags & ~(wire::nbd_flag_c_fixed_newstyle | wire::nbd_flag_c_no_zeroes)) != 0) {
    close(fmt::format("unknown client flags {:#x}", flags), true);
    return true;
  }
  no_zeroes_ = (flags & wire::nbd_flag_c_no_zeroes) != 0;
  phase_ = phase::options;
  return true;
}

bool negotiation::take_option() {
  const auto bytes = input();
  if (bytes.size() < sizeof(wire::nbd_option_header)) return false;
  const auto header = read_part<wire::nbd_option_header>(bytes);
  const auto option = static_cast<wire::nbd_option>(header.option.value());
  const auto length = header.length.value();
  if (header.magic.value() != wire::nbd_option_magic) {
    close("invalid magic number in an option", true);
    return true;
  }
  if (length > largest_option) {
    close(fmt::format("{} with {} bytes of data", to_string(option), length), true);
    return true;
  }
  if (bytes.size() - sizeof header < length) return false;
  consumed_ += sizeof header + length;
  if (options_left_ == 0) {
    close("too many options", true);
    return true;
  }
  --options_left_;
  answer({option, bytes.substr(sizeof header, length)});
  return true;
}

void negotiation::close(std::string reason, bool is_violation) {
  reason_ = std::move(reason);
  is_violation_ = is_violation;
  phase_ = phase::closed;
}

}  // namespace xenpv::nbd
