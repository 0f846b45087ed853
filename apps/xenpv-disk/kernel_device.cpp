#include "kernel_device.hpp"

#include "nbd/kernel_device.hpp"
#include "ublk/device_name.hpp"

namespace xenpv::disk_app {

std::string_view to_string(device_driver driver) noexcept {
  return driver == device_driver::ublk ? "ublk" : "nbd";
}

std::optional<device_driver> parse_device_driver(std::string_view text) noexcept {
  for (const auto driver : {device_driver::nbd, device_driver::ublk})
    if (text == to_string(driver)) return driver;
  return std::nullopt;
}

std::string kernel_device::name() const {
  return driver == device_driver::ublk ? ublk::device_name(index) : nbd::kernel_device_name(index);
}

std::string kernel_device::path() const {
  return "/dev/" + name();
}

std::optional<kernel_device> parse_kernel_device(std::string_view text) {
  if (const auto index = nbd::kernel_device_index(text))
    return kernel_device{device_driver::nbd, *index};
  if (const auto index = ublk::device_index(text))
    return kernel_device{device_driver::ublk, *index};
  return std::nullopt;
}

}  // namespace xenpv::disk_app
