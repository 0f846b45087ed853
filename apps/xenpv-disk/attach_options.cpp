#include "attach_options.hpp"

#include <fmt/format.h>

namespace xenpv::disk_app {
namespace {

/// The first option that only an NBD device has; nullptr: none is given.
const char* nbd_option(const attach_options& options) {
  if (options.connections) return "--connections";
  if (options.timeout) return "--timeout";
  if (options.dead_timeout) return "--dead-timeout";
  return nullptr;
}

}  // namespace

result<std::optional<device_driver>> required_driver(const attach_options& options) {
  std::optional<device_driver> out;
  std::string chosen_by;  // the option or argument that determines `out`
  if (options.driver == driver_choice::ublk) out = device_driver::ublk;
  if (options.driver == driver_choice::nbd) out = device_driver::nbd;
  if (out) chosen_by = fmt::format("--driver {}", to_string(*out));
  const auto contradiction = [&](std::string_view option) {
    return make_error(errc::invalid_argument, chosen_by,
                      fmt::format("it contradicts {}; omit one of them", option));
  };
  if (options.device) {
    const auto& device = *options.device;
    if (out && *out != device.driver) return contradiction(device.path());
    out = device.driver;
    chosen_by = device.path();
  }
  if (const auto* const option = nbd_option(options)) {
    if (out && *out != device_driver::nbd) return contradiction(option);
    out = device_driver::nbd;
  }
  return out;
}

result<void> check_takeover(const attach_options& options, const kept_device& kept,
                            const std::string& disk, bool is_read_only, bool can_remove_timeout) {
  const auto& device = kept.device;
  const auto refuse = [&](std::string_view reason) {
    return make_error(errc::invalid_argument, fmt::format("attach {} as {}", disk, device.path()),
                      fmt::format("a previous server left the device behind, {}", reason));
  };
  if (options.device && *options.device != device)
    return refuse(
        fmt::format("and it may be in use; {} cannot replace it", options.device->path()));
  const auto required = required_driver(options);
  if (!required) return required.error();
  if (*required && **required != device.driver)
    return refuse(fmt::format("and the {} driver cannot replace it; detach the device first",
                              to_string(**required)));
  if (options.server.read_only && !is_read_only)
    return refuse("and it is writable; omit --read-only, or detach the device first");
  if (device.driver != device_driver::nbd) return {};
  if (options.connections && *options.connections != kept.connections)
    return refuse(fmt::format("with {} connections; omit --connections, or detach the device first",
                              kept.connections));
  const bool has_timeout = options.timeout && options.timeout->count() > 0;
  if (!has_timeout && kept.timeout.count() > 0 && !can_remove_timeout)
    return refuse(
        fmt::format("with --timeout {}s, which can be removed only by Linux 5.9 or later; repeat "
                    "the option, or detach the device first",
                    kept.timeout.count()));
  return {};
}

}  // namespace xenpv::disk_app
