#include "nbd_device.hpp"

#include <fmt/format.h>

#include <utility>

#include "nbd/kernel_device.hpp"
#include "xenpv/nbd/kernel_attachment.hpp"

namespace xenpv::disk_app {
namespace {

/// How long requests wait without a server. Longer for a kept device, because an administrator may
/// have to start the next server.
constexpr std::chrono::seconds usual_dead_timeout(30);
constexpr std::chrono::minutes kept_dead_timeout(10);

nbd::attachment_options nbd_options_for(const attach_options& options, const served_disk& disk) {
  nbd::attachment_options out;
  if (options.device) out.index = options.device->index;
  out.queues = disk.device.queue_count();
  out.keep = options.server.keep;
  // With several connections, the kernel drops connections whose requests are merely slow.
  out.connections = options.connections.value_or(out.keep ? 1 : out.queues);
  out.timeout = options.timeout.value_or(std::chrono::seconds(0));
  out.dead_timeout = options.dead_timeout.value_or(
      out.keep ? std::chrono::seconds(kept_dead_timeout) : usual_dead_timeout);
  out.identifier = device_identifier(disk.name);
  if (const auto& kept = disk.claimed.held.kept) {
    out.adopted = kept->device.index;
    out.connections = kept->connections;
    out.adopted_timeout = kept->timeout;
  }
  return out;
}

class nbd_device final : public attached_device {
 public:
  nbd_device(const attach_options& options, disk_server& server, nbd::kernel_driver driver)
      : server_(server),
        disk_(server.disks.front()),
        options_(nbd_options_for(options, disk_)),
        driver_(std::move(driver)) {}

  asio::awaitable<void> open(confinement& confined, std::string identity) override {
    identity_ = std::move(identity);
    confined_device used;
    used.index = options_.adopted ? options_.adopted : options_.index;
    used.is_connected = options_.adopted.has_value();
    used.identifier = options_.identifier;
    confined.use_device(used);
    driver_.use(confined.nbd_device());
    co_return;
  }

  asio::awaitable<void> abandon() override { co_return; }

  asio::awaitable<void> connect(confinement& confined) override {
    attachment_.emplace(server_.runtime.control(), server_.server, std::move(driver_),
                        disk_.device.shape(), options_);
    co_await attachment_->connect();
    if (options_.keep)
      confined.remember_device(options_.connections,
                               static_cast<std::uint64_t>(options_.timeout.count()), identity_);
  }

  [[nodiscard]] kernel_device device() const override {
    return {device_driver::nbd, attachment_->index()};
  }
  [[nodiscard]] std::optional<ublk::device_plan> plan() const override { return std::nullopt; }
  [[nodiscard]] bool is_connected() const override {
    return attachment_ && attachment_->is_connected();
  }

  asio::awaitable<void> run() override { return attachment_->run(); }
  void set_geometry(const blk::geometry& geometry) override {
    if (attachment_) attachment_->reshape(geometry);
  }
  asio::awaitable<void> disconnect() override {
    if (attachment_) co_await attachment_->disconnect();
  }
  asio::awaitable<void> leave_behind() override {
    attachment_->leave_behind();
    co_return;
  }

 private:
  disk_server& server_;
  served_disk& disk_;
  nbd::attachment_options options_;
  std::string identity_;
  nbd::kernel_driver driver_;
  std::optional<nbd::kernel_attachment> attachment_;
};

}  // namespace

void check_nbd_device(const attach_options& options, const std::string& disk) {
  if (!options.device || disk_of_kept_device(*options.device) == disk) return;
  const auto& device = *options.device;
  if (const auto owner = nbd::kernel_device_owner(device.index))
    throw failure(
        std::make_error_code(std::errc::device_or_resource_busy),
        fmt::format("attach to {}", device.path()),
        fmt::format("already connected by process {}; omit the device to let the kernel choose one",
                    *owner));
}

std::unique_ptr<attached_device> make_nbd_device(const attach_options& options, disk_server& server,
                                                 nbd::kernel_driver driver) {
  return std::make_unique<nbd_device>(options, server, std::move(driver));
}

}  // namespace xenpv::disk_app
