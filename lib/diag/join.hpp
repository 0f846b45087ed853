// The two halves of the inventory that need their own page: which port is which interrupt's, and
// the source ladder. Pure.
#pragma once

#include <vector>

#include "xenpv/diag/inventory.hpp"

namespace xenpv::diag {

/// Gives the channels their ports, devices and other ends, and adds those that have a port and no
/// interrupt.
void join_ports(const readings& from, std::vector<channel>& channels);

[[nodiscard]] std::vector<rung> make_ladder(const readings& from);

}  // namespace xenpv::diag
