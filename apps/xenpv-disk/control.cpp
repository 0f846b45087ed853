// The commands that change a running server: reload and disconnect.
#include <fmt/format.h>

#include "cli/value.hpp"
#include "commands.hpp"
#include "server_query.hpp"

namespace xenpv::disk_app {

void add_reload(cli::app& app) {
  static std::string disk;
  app.add_command("reload", "make a server read its TLS files and access list again")
      .describe(
          "Returns when the server of DISK uses the new credentials and access list for new "
          "clients. Connected clients stay; end them with the disconnect command. If a file is "
          "invalid, prints the reason and exits with status 1, and the server continues with the "
          "previous settings.")
      .example("add a key", "psktool -u bob -p /etc/xenpv/keys.psk && xenpv-disk reload xvdb")
      .argument("DISK", disk, "any name of the disk, as shown by list", cli::as_text)
      .action([](std::ostream&) {
        command_server(disk, {{"command", "reload"}});
        return cli::exit_code::ok;
      });
}

void add_disconnect(cli::app& app) {
  static std::string disk;
  static std::uint64_t client = 0;
  app.add_command("disconnect", "end a client's connection")
      .describe(
          "Ends the connection immediately: requests in flight complete at the disk, without a "
          "reply. Most clients connect again; to keep one out, remove its key or its rule from the "
          "access list, and reload, first.")
      .example("end client 7", "xenpv-disk disconnect xvdb 7")
      .argument("DISK", disk, "any name of the disk, as shown by list", cli::as_text)
      .argument("CLIENT", client, "the client's number, as shown by status",
                cli::whole_number<std::uint64_t>(1, ~std::uint64_t{0}))
      .action([](std::ostream&) {
        command_server(disk, {{"command", "disconnect"}, {"client", client}});
        return cli::exit_code::ok;
      });
}

}  // namespace xenpv::disk_app
