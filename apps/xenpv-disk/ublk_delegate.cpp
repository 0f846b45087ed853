#include "ublk_delegate.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <utility>

#include "base/device_opening.hpp"
#include "ublk/device_name.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::disk_app {
namespace {

using sandbox::helper_operation;

class ublk_delegate final : public ublk::device_control {
 public:
  explicit ublk_delegate(std::shared_ptr<sandbox::root_helper> helper)
      : helper_(std::move(helper)) {}

  void stop(std::uint32_t) override { helper_->ask(helper_operation::stop_device, {}); }
  void remove(std::uint32_t) override { helper_->ask(helper_operation::remove_device, {}); }
  void update_size(std::uint32_t, std::uint64_t sectors) override {
    helper_->ask(helper_operation::resize_device,
                 {sectors * ublk::sector_bytes, ublk::sector_bytes});
  }
  /// A child of the helper writes back, so that meanwhile the helper can stop the device.
  void write_back(std::uint32_t index) override {
    device_opening opening(helper_->ask(helper_operation::open_device, {1}).descriptor);
    if (const int code = opening.outcome(); code != 0)
      throw_errno(code, fmt::format("write back {}", ublk::device_path(index)));
  }

 private:
  std::shared_ptr<sandbox::root_helper> helper_;
};

}  // namespace

std::shared_ptr<ublk::device_control> make_ublk_delegate(
    std::shared_ptr<sandbox::root_helper> helper) {
  return std::make_shared<ublk_delegate>(std::move(helper));
}

}  // namespace xenpv::disk_app
