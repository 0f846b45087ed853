#include "xenpv/blkfront/kernel_driver.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>

#include "xenpv/base/block_device_users.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

void take_from_kernel(const listed_device& device, const system_root& root) {
  const auto what = fmt::format("take {} from the kernel", device.name);
  const auto users = block_device_users(device.name, root);
  if (!users.empty())
    throw failure(std::make_error_code(std::errc::device_or_resource_busy), what,
                  fmt::format("it is {}", fmt::join(users, "; ")));
  const auto path = root.path("/sys/bus/xen/drivers/vbd/unbind");
  std::ofstream file(path);
  file << fmt::format("vbd-{}", device.number);
  if (!file.flush()) throw_errno(fmt::format("{}: write {}", what, path.string()), "are you root?");
}

}  // namespace xenpv::blkfront
