#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/parse.hpp"
#include "cli/json.hpp"
#include "cli/table.hpp"
#include "commands.hpp"
#include "wire/virtual_device.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/device_list.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::disk_app {
namespace {

using blkfront::listed_device;

std::vector<listed_device> read_devices() {
  std::vector<listed_device> devices;
  async::runtime_options settings;
  settings.with_custodian = false;
  settings.with_log_thread = false;
  async::runtime runtime(std::move(settings));
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    devices = co_await blkfront::list_devices(self.store());
  });
  return devices;
}

std::string state_of_backend(const listed_device& device) {
  return device.backend_state ? std::string(to_string(*device.backend_state)) : "gone";
}

void print_table(std::ostream& out, const std::vector<listed_device>& devices) {
  cli::table table({{"NAME"},
                    {"DEVID", cli::align::right},
                    {"SIZE", cli::align::right},
                    {"SECTOR", cli::align::right},
                    {"MODE"},
                    {"TYPE"},
                    {"HOLDER"},
                    {"STATE"},
                    {"BACKEND"},
                    {"BACKEND-STATE"},
                    {"FEATURES"}});
  for (const auto& device : devices)
    table.add_row({device.name, fmt::format("{}", device.number),
                   device.size ? format_size(*device.size) : "",
                   fmt::format("{}", device.sector_size), device.mode, device.type,
                   std::string(to_string(device.holder)), std::string(to_string(device.state)),
                   device.backend, state_of_backend(device),
                   fmt::format("{}", fmt::join(device.features, ","))});
  table.print(out);
}

cli::json to_json(const listed_device& device) {
  cli::json out{{"name", device.name},
                {"toolstack_name", device.toolstack_name},
                {"devid", device.number},
                {"path", device.path},
                {"size", nullptr},
                {"sector_size", device.sector_size},
                {"mode", device.mode},
                {"type", device.type},
                {"params", device.params},
                {"holder", to_string(device.holder)},
                {"state", to_string(device.state)},
                {"backend", device.backend},
                {"backend_kind", device.backend_kind},
                {"backend_state", nullptr},
                {"features", device.features}};
  if (device.size) out["size"] = *device.size;
  if (device.backend_state) out["backend_state"] = to_string(*device.backend_state);
  return out;
}

cli::exit_code list(bool as_json, std::ostream& out) {
  const auto devices = read_devices();
  if (!as_json) {
    print_table(out, devices);
    return cli::exit_code::ok;
  }
  auto document = cli::json_document("xenpv-disk.list", 1);
  document["disks"] = cli::json::array();
  for (const auto& device : devices)
    document["disks"].push_back(to_json(device));
  cli::print_json(out, document);
  return cli::exit_code::ok;
}

/// For completion: the names of the disks, which `list` shows with more details.
std::vector<cli::completion_word> disk_words() {
  const auto numbers = xen::store::open().list_if_exists("device/vbd");
  std::vector<cli::completion_word> out;
  for (const auto& text : numbers.value_or(std::vector<std::string>()))
    if (const auto number = parse_whole<std::uint32_t>(text))
      out.push_back({wire::virtual_device_name(*number), fmt::format("device/vbd/{}", *number)});
  return out;
}

}  // namespace

void add_list(cli::app& app) {
  static bool as_json = false;
  app.complete_values("DISK", disk_words);
  auto& command = app.add_command("list", "show the PV disks of this guest");
  command
      .describe(
          "NAME is the name in this guest: Linux calls each PV disk xvdX, even if the toolstack "
          "uses another name (768 is xvda in Linux and hda in the toolstack); --json shows both. "
          "HOLDER is the disk's driver in this guest: the kernel, a process, or nobody. Most "
          "backends report the size of a disk only to a connected frontend.")
      .offers_json(as_json)
      .action([](std::ostream& out) { return list(as_json, out); });
}

}  // namespace xenpv::disk_app
