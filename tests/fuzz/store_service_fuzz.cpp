// Untrusted bytes to the simulated store: the store must answer or disconnect, and its accounting
// must stay correct.
//
// The input is a list of steps, each starting with an opcode byte: raw bytes to one of four
// connections, a well-formed request, which reaches more code, or a change of a domain's state.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/store_service.hpp"
#include "wire/xs.hpp"

namespace {

using namespace xenpv;
using namespace xenpv::sim;

class input {
 public:
  explicit input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::span<const std::uint8_t> take(std::size_t size) {
    const auto part = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return part;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

std::string pick_path(std::uint8_t choice) {
  constexpr std::array<std::string_view, 4> tops = {"", "/local/domain/1/", "/local/domain/2/",
                                                    "/"};
  constexpr std::array<std::string_view, 8> rests = {"a",   "a/b", "a/b/c",          "b",
                                                     "b/d", "",    "@releaseDomain", "a//"};
  return std::string(tops[choice % 4]) + std::string(rests[(choice / 4) % 8]);
}

/// Returns a CONTROL request; `|` stands for a NUL here.
std::string pick_command(std::uint8_t choice) {
  constexpr std::array<std::string_view, 16> commands = {"check|",
                                                         "help|",
                                                         "log|",
                                                         "log|on|",
                                                         "log|-io|",
                                                         "logfile|/absent|",
                                                         "memreport|",
                                                         "quota|",
                                                         "quota|1|",
                                                         "quota|max|",
                                                         "quota|max|-r|",
                                                         "quota-soft|",
                                                         "print|text|",
                                                         "live-update|-f|/bin/sh|",
                                                         "live-update|-s|",
                                                         "quota|set|nodes|"};
  std::string command(commands[choice % 16]);
  if (command == "quota|set|nodes|") command += std::to_string(choice / 16) + '|';
  std::replace(command.begin(), command.end(), '|', '\0');
  return command;
}

std::string pick_payload(wire::xs_type type, input& source) {
  const auto path = pick_path(source.byte()) + '\0';
  const auto choice = source.byte();
  const auto digit = static_cast<char>('0' + choice % 4);
  if (type == wire::xs_type::control) return pick_command(choice);
  if (type == wire::xs_type::transaction_end) return std::string(choice % 4 ? "T" : "F") + '\0';
  if (type == wire::xs_type::watch || type == wire::xs_type::unwatch) return path + digit + '\0';
  if (type == wire::xs_type::directory_part) return path + digit + '\0';
  if (type == wire::xs_type::write) return path + std::string(choice * 9U, 'v');
  if (type == wire::xs_type::set_perms)
    return path + "nrwb"[(choice / 4) % 4] + digit + '\0' + "brwn"[(choice / 16) % 4] + '2' + '\0';
  if (type == wire::xs_type::introduce)
    return std::string(1, digit) + '\0' + '1' + '\0' + '1' + '\0';
  if (type == wire::xs_type::set_target)
    return std::string(1, digit) + '\0' + static_cast<char>('0' + (choice / 4) % 4) + '\0';
  if (type == wire::xs_type::release || type == wire::xs_type::resume)
    return std::string(1, digit) + '\0';
  return path;
}

/// Checks that the output consists of complete messages.
void check(std::span<const std::byte> output) {
  while (!output.empty()) {
    wire::xs_message_header header{};
    if (output.size() < sizeof header) std::abort();
    std::memcpy(&header, output.data(), sizeof header);
    output = output.subspan(sizeof header);
    if (header.len > wire::xs_payload_max || header.len > output.size()) std::abort();
    output = output.subspan(header.len);
  }
}

class host {
 public:
  host()
      : service_({.nodes = 12, .watches = 4, .transactions = 3, .transaction_nodes = 16},
                 {.like_xen_4_20 = true}) {
    for (std::uint16_t number = 1; number <= 2; ++number) {
      const auto directory = "/local/domain/" + std::to_string(number);
      service_.introduce(domid{number});
      service_.write(directory, "");
      service_.set_permissions(directory, std::vector{store_permission{domid{number}}});
    }
    for (std::size_t i = 0; i < clients_.size(); ++i)
      clients_[i] = service_.attach(owner_of(i));
  }

  void step(input& source) {
    const auto opcode = source.byte();
    const auto which = opcode % clients_.size();
    const domid guest{static_cast<std::uint16_t>(1 + which % 2)};
    switch (opcode / 16) {
      case 0:
        send(which, source.take(source.byte()));
        break;
      case 1:
        service_.release(guest);
        break;
      case 2:
        service_.introduce(guest);
        break;
      case 3:
        service_.resume(guest, domid{static_cast<std::uint16_t>(source.byte() % 4)});
        break;
      case 4:
        reattach(which);
        break;
      case 5:
        service_.set_faults({.fail_every = source.byte(), .eagain_every = source.byte()});
        break;
      case 6:
        check(service_.take_output(clients_[which]));
        break;
      default:
        request(which, source);
        break;
    }
  }

  /// Removes all nodes or returns them to domain 0, and checks that no other domain owns a node.
  void finish() {
    for (const auto id : service_.take_ready())
      check(service_.take_output(id));
    for (const auto& name : service_.list("/"))
      service_.remove("/" + name);
    for (const auto* const path : {"/", "@introduceDomain", "@releaseDomain"})
      service_.set_permissions(path, std::vector{store_permission{domid_0}});
    for (std::uint16_t number = 1; number <= 3; ++number)
      if (service_.node_count(domid{number}) != 0) std::abort();
    if (service_.node_count(domid_0) != 3) std::abort();
  }

 private:
  static domid owner_of(std::size_t client) {
    return domid{static_cast<std::uint16_t>(client == 3 ? 1 : client)};
  }

  void reattach(std::size_t which) {
    service_.detach(clients_[which]);
    clients_[which] = service_.attach(owner_of(which));
  }

  void send(std::size_t which, std::span<const std::uint8_t> bytes) {
    if (!service_.receive(clients_[which], std::as_bytes(bytes))) reattach(which);
  }

  void request(std::size_t which, input& source) {
    wire::xs_message_header header{.type = static_cast<wire::xs_type>(source.byte() % 24),
                                   .req_id = 7,
                                   .tx_id = source.byte() % 4U,
                                   .len = 0};
    const auto payload = pick_payload(header.type, source);
    header.len = static_cast<std::uint32_t>(payload.size());
    std::vector<std::uint8_t> bytes(sizeof header + payload.size());
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, payload.data(), payload.size());
    send(which, bytes);
  }

  store_service service_;
  std::array<store_service::connection_id, 4> clients_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input source({data, size});
  host simulated;
  while (!source.is_empty())
    simulated.step(source);
  simulated.finish();
  return 0;
}
