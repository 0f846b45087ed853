// Makes the requests about a kernel NBD device through a root helper.
#pragma once

#include <memory>

#include "sandbox/root_helper.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::disk_app {

[[nodiscard]] std::shared_ptr<nbd::kernel_delegate> make_kernel_delegate(
    std::shared_ptr<sandbox::root_helper> helper);

}  // namespace xenpv::disk_app
