// Prints the clients of disks and servers for `status`. Does not query servers.
#pragma once

#include <iosfwd>

#include "cli/json.hpp"

namespace xenpv::disk_app {

/// Prints a table of the connected clients in a report of ask_servers(), if there are any. Prints
/// only the values that the report has.
void print_clients(std::ostream& out, const cli::json& report);

/// Prints a line with the counts and the memory of a server, if the report has them.
void print_server(std::ostream& out, const cli::json& server);

}  // namespace xenpv::disk_app
