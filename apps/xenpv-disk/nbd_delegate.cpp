#include "nbd_delegate.hpp"

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace xenpv::disk_app {
namespace {

using sandbox::helper_operation;

std::uint64_t seconds_or_none(const std::optional<std::chrono::seconds>& time) {
  return time ? static_cast<std::uint64_t>(time->count()) : sandbox::no_time;
}

class helper_delegate final : public nbd::kernel_delegate {
 public:
  explicit helper_delegate(std::shared_ptr<sandbox::root_helper> helper)
      : helper_(std::move(helper)) {}

  std::uint32_t connect(const nbd::kernel_device_config& config) override {
    const auto outcome = helper_->ask(helper_operation::connect_device,
                                      {config.size, config.block_size, config.flags,
                                       static_cast<std::uint64_t>(config.timeout.count()),
                                       static_cast<std::uint64_t>(config.dead_timeout.count())},
                                      config.sockets);
    return static_cast<std::uint32_t>(outcome.value);
  }
  void resize(std::uint64_t size, std::uint32_t block_size) override {
    helper_->ask(helper_operation::resize_device, {size, block_size});
  }
  void replace_sockets(const std::vector<int>& sockets,
                       const nbd::device_timeouts& timeouts) override {
    helper_->ask(helper_operation::replace_sockets,
                 {seconds_or_none(timeouts.request), seconds_or_none(timeouts.dead)}, sockets);
  }
  void disconnect() override { helper_->ask(helper_operation::disconnect_device, {}); }
  std::optional<bool> is_connected() override {
    constexpr std::uint64_t missing = 2;
    const auto state = helper_->ask(helper_operation::query_device, {}).value;
    if (state == missing) return std::nullopt;
    return state == 1;
  }
  unique_fd open_device(bool write_back) override {
    return std::move(
        helper_->ask(helper_operation::open_device, {write_back ? 1U : 0U}).descriptor);
  }
  void limit_requests(std::chrono::milliseconds limit) override {
    helper_->ask(helper_operation::limit_requests, {static_cast<std::uint64_t>(limit.count())});
  }
  void prepare_queue(std::uint32_t kilobytes) override {
    helper_->ask(helper_operation::prepare_queue, {kilobytes});
  }
  /// Does not wait: the control thread must not depend on a request that waits for the kernel.
  void enlarge_buffer(int socket) override {
    sandbox::helper_request request;
    request.operation = helper_operation::enlarge_buffer;
    if (helper_->try_ask(request, {socket})) return;
    constexpr int room = 1 << 20;
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  }

 private:
  std::shared_ptr<sandbox::root_helper> helper_;
};

}  // namespace

std::shared_ptr<nbd::kernel_delegate> make_nbd_delegate(
    std::shared_ptr<sandbox::root_helper> helper) {
  return std::make_shared<helper_delegate>(std::move(helper));
}

}  // namespace xenpv::disk_app
