// Two steps of building the inventory: matching ports to interrupts and listing the sources. Pure.
#pragma once

#include <vector>

#include "channels/inventory.hpp"

namespace xenpv::channels {

/// Adds ports, devices and remote ends to the channels, and appends channels that have a port but
/// no interrupt.
void join_ports(const raw_facts& facts, std::vector<channel>& channels);

[[nodiscard]] std::vector<source_status> list_sources(const raw_facts& facts);

}  // namespace xenpv::channels
