// A simulated host's tables without the host itself, with domains 0 and 1 in slots 0 and 1.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/event_channels.hpp"
#include "sim/grant_tables.hpp"

namespace xenpv::sim {

struct simulated_tables {
  static constexpr std::uint8_t slot_0 = 0;
  static constexpr std::uint8_t slot_1 = 1;
  static constexpr domid domain_1{1};
  static constexpr std::uint32_t max_channels = 100;

  simulated_tables() {
    for (const auto slot : {slot_0, slot_1}) {
      state->domains[slot].generation.store(slot + 1U);
      events.start_domain(slot, domid{slot}, 1);
      grants.start_domain(slot);
    }
  }

  /// Reads all pending ports of a handle without waiting.
  [[nodiscard]] static std::vector<std::uint32_t> read_ports(const unique_fd& reader) {
    std::vector<std::uint32_t> ports;
    for (pollfd ready{reader.get(), POLLIN, 0}; ::poll(&ready, 1, 0) == 1;) {
      std::uint32_t port = 0;
      if (::read(reader.get(), &port, sizeof port) != sizeof port) break;
      ports.push_back(port);
    }
    return ports;
  }

  [[nodiscard]] event_channels::opened_handle open(std::uint8_t slot) {
    return events.open(slot, ::getpid()).value();
  }

  std::unique_ptr<shared_state> state = std::make_unique<shared_state>();
  event_channels events{*state, max_channels};
  grant_tables grants{*state, events};
};

}  // namespace xenpv::sim
