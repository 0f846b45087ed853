#include "ublk_device.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "confinement.hpp"
#include "ublk/attachment.hpp"
#include "ublk/device_name.hpp"
#include "ublk/driver.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

ublk::attachment_options ublk_options_for(const attach_options& options, const served_disk& disk) {
  ublk::attachment_options out;
  out.read_only = options.server.read_only;
  out.keep = options.server.keep;
  if (options.device) out.index = options.device->index;
  if (const auto& kept = disk.claimed.held.kept) out.adopted = kept->device.index;
  out.token = device_token(disk.claimed.held.disk.number);
  out.process = ::getpid();
  return out;
}

class ublk_device final : public attached_device {
 public:
  ublk_device(const attach_options& options, disk_server& server,
              std::shared_ptr<ublk::kernel_driver> driver)
      : disk_(server.disks.front()),
        options_(ublk_options_for(options, disk_)),
        attachment_(server.runtime.control(), disk_.device, disk_.device.shape(), std::move(driver),
                    options_) {}

  asio::awaitable<void> open(confinement& confined, std::string identity) override {
    co_await attachment_.start();
    auto undo = [this] { return abandon(); };
    co_await async::clean_up_on_failure(hand_over(confined, std::move(identity)), undo);
  }
  /// A device that was taken over may be mounted.
  asio::awaitable<void> abandon() override {
    return options_.adopted ? attachment_.leave() : attachment_.stop();
  }

  asio::awaitable<void> connect(confinement&) override { co_return; }
  [[nodiscard]] kernel_device device() const override {
    return {device_driver::ublk, attachment_.index()};
  }
  [[nodiscard]] std::optional<ublk::device_plan> plan() const override {
    return attachment_.plan();
  }
  [[nodiscard]] bool is_connected() const override {
    return attachment_.state() == ublk::attachment_state::live;
  }

  asio::awaitable<void> run() override { return attachment_.run(); }
  void set_geometry(const blk::geometry& geometry) override { attachment_.reshape(geometry); }
  asio::awaitable<void> disconnect() override { return attachment_.stop(); }
  asio::awaitable<void> leave_behind() override { return attachment_.leave(); }

 private:
  asio::awaitable<void> hand_over(confinement& confined, std::string identity) {
    const auto used = device();
    if (options_.keep) {
      kept_device kept;
      kept.device = used;
      kept.identity = std::move(identity);
      const auto sequence = ublk::device_sequence(used.index);
      if (!sequence)
        throw failure(errc::not_available, fmt::format("keep {}", used.path()),
                      "its sequence number cannot be read from /sys/block");
      kept.sequence = *sequence;
      remember_device(disk_.name, kept);
    }
    confined.use_ublk_device(used.index, options_.token, device_identifier(disk_.name));
    attachment_.use(confined.ublk_device());
    co_return;
  }

  served_disk& disk_;
  ublk::attachment_options options_;
  ublk::attachment attachment_;
};

}  // namespace

std::shared_ptr<ublk::kernel_driver> open_ublk_driver() {
  auto out = ublk::open_driver();
  ublk::check_features(out->features()).value();
  return out;
}

void check_ublk_device(const attach_options& options, const blkfront::listed_device& disk,
                       ublk::kernel_driver& driver) {
  if (!options.device || disk_of_kept_device(*options.device) == disk.name) return;
  const auto& device = *options.device;
  const auto found = driver.get_info(device.index);
  // The leftover of a killed server of this disk is removed later.
  if (!found || (found->state == ublk::device_state::dead &&
                 found->ublksrv_flags == device_token(disk.number)))
    return;
  const auto owner = found->state == ublk::device_state::live
                         ? fmt::format("process {} serves it", found->ublksrv_pid)
                         : std::string("it exists");
  throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                fmt::format("attach to {}", device.path()),
                owner + "; omit the device to let the kernel choose one");
}

std::unique_ptr<attached_device> make_ublk_device(const attach_options& options,
                                                  disk_server& server,
                                                  std::shared_ptr<ublk::kernel_driver> driver) {
  return std::make_unique<ublk_device>(options, server, std::move(driver));
}

}  // namespace xenpv::disk_app
