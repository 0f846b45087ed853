// Helpers for the inventory: match ports to interrupts, and list the sources. Pure.
#pragma once

#include <vector>

#include "channels/inventory.hpp"

namespace xenpv::channels {

/// Adds ports, devices and remote ends to the channels, and appends the channels that have a port
/// but no interrupt.
void join_ports(const raw_facts& facts, std::vector<channel>& channels);

[[nodiscard]] std::vector<source_status> list_sources(const raw_facts& facts);

}  // namespace xenpv::channels
