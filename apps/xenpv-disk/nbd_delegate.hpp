// Makes the requests about an NBD device of the kernel through a root helper.
#pragma once

#include <memory>

#include "sandbox/root_helper.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::disk_app {

[[nodiscard]] std::shared_ptr<nbd::kernel_delegate> make_nbd_delegate(
    std::shared_ptr<sandbox::root_helper> helper);

}  // namespace xenpv::disk_app
