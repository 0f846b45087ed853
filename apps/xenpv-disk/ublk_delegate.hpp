// Makes the requests about a ublk device through a root helper.
#pragma once

#include <memory>

#include "sandbox/root_helper.hpp"
#include "ublk/kernel.hpp"

namespace xenpv::disk_app {

/// The helper knows the device, so the functions of the result ignore its number.
[[nodiscard]] std::shared_ptr<ublk::device_control> make_ublk_delegate(
    std::shared_ptr<sandbox::root_helper> helper);

}  // namespace xenpv::disk_app
