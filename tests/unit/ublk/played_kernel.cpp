#include "played_kernel.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "xenpv/base/error.hpp"

namespace xenpv::ublk::test {

// ---- device

std::shared_ptr<user_request> played_device::submit(std::size_t queue, user_request request) {
  auto out = std::make_shared<user_request>(std::move(request));
  const std::lock_guard lock(mutex);
  pending.at(queue).push_back(out);
  if (queues.at(queue) != nullptr) queues[queue]->wake();
  return out;
}

std::size_t played_device::unfinished() const {
  std::size_t out = 0;
  for (const auto& queue : pending)
    out += queue.size();
  return out;
}

void played_device::server_ended() {
  const std::lock_guard lock(mutex);
  is_open = false;
  if (is_started && info.state == device_state::live)
    info.state = (info.flags & f_user_recovery) != 0 ? device_state::quiesced : device_state::dead;
  changed.notify_all();
}

// ---- queue

played_queue::played_queue(std::shared_ptr<played_device> device, asio::any_io_executor executor,
                           std::uint16_t index, std::uint16_t depth)
    : device_(std::move(device)), executor_(std::move(executor)), index_(index), slots_(depth) {
  const std::lock_guard lock(device_->mutex);
  device_->queues.at(index_) = this;
}

played_queue::~played_queue() {
  close();
}

bool played_queue::has_all_tags() const {
  return std::ranges::all_of(slots_, [](const slot& s) { return s.was_fetched; });
}

bool played_queue::is_idle() const {
  return std::ranges::none_of(slots_, [](const slot& s) { return s.request != nullptr; });
}

void played_queue::wake() {
  asio::post(executor_, [this, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired()) submit();
  });
}

void played_queue::submit() {
  if (!prepared_.empty()) ++submissions;
  again_ = true;
  if (is_running_ || listener_ == nullptr) return;
  is_running_ = true;
  while (std::exchange(again_, false))
    run();
  is_running_ = false;
}

void played_queue::run() {
  std::vector<completion> out;
  {
    const std::lock_guard lock(device_->mutex);
    for (const auto& c : std::exchange(prepared_, {}))
      carry_out(c, out);
    deliver(out);
    device_->changed.notify_all();
  }
  for (const auto& done : out)
    listener_->completed(done.tag, done.result);
  if (!out.empty()) listener_->batch_completed();
}

void played_queue::carry_out(const command& c, std::vector<completion>& out) {
  auto& s = slots_.at(c.tag);
  if (s.with_kernel) {
    blame("the kernel has tag " + std::to_string(c.tag) + " already");
    return out.push_back({c.tag, -EBUSY});
  }
  if (c.commits) {
    if (!s.request) {
      blame("tag " + std::to_string(c.tag) + " has no request to commit");
      return out.push_back({c.tag, -EINVAL});
    }
    s.request->result = c.result;
    s.request->is_done = true;
    s.request.reset();
  } else if (s.was_fetched || refuse_fetch != 0) {
    return out.push_back({c.tag, refuse_fetch != 0 ? -refuse_fetch : -EINVAL});
  }
  s.was_fetched = true;
  s.with_kernel = true;
}

void played_queue::deliver(std::vector<completion>& out) {
  auto& pending = device_->pending.at(index_);
  const bool is_live = device_->info.state == device_state::live;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    auto& s = slots_[i];
    const auto tag = static_cast<std::uint16_t>(i);
    if (!s.with_kernel) continue;
    if (device_->is_aborting) {
      s.with_kernel = false;
      out.push_back({tag, io_res_abort});
    } else if (is_live && !pending.empty()) {
      s.with_kernel = false;
      s.request = pending.front();
      pending.pop_front();
      ++s.request->deliveries;
      out.push_back({tag, io_res_ok});
    }
  }
}

io_desc played_queue::descriptor(std::uint16_t tag) const {
  const auto& request = *slots_.at(tag).request;
  io_desc out;
  out.op_flags = static_cast<std::uint32_t>(request.op) | request.flags;
  out.nr_sectors = request.sectors;
  out.start_sector = request.sector;
  return out;
}

int played_queue::copy_from_request(std::uint16_t tag, std::span<const iovec> memory) {
  const auto& request = slots_.at(tag).request;
  if (!request || request->op != io_operation::write) return EINVAL;
  std::size_t at = 0;
  for (const auto& piece : memory) {
    std::memcpy(piece.iov_base, request->data.data() + at, piece.iov_len);
    at += piece.iov_len;
  }
  if (at != request->data.size()) blame("a write was copied partly");
  return 0;
}

int played_queue::copy_to_request(std::uint16_t tag, std::span<const iovec> memory) {
  const auto& request = slots_.at(tag).request;
  if (!request || request->op != io_operation::read) return EINVAL;
  request->data.clear();
  for (const auto& piece : memory)
    request->data.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  if (request->data.size() != request->sectors * sector_bytes) blame("a read was copied partly");
  return 0;
}

void played_queue::close() {
  const std::lock_guard lock(device_->mutex);
  if (device_->queues.at(index_) != this) return;
  device_->queues[index_] = nullptr;
  listener_ = nullptr;
  alive_.reset();
  // UBLK_F_USER_RECOVERY_REISSUE: the next server sees the requests again. Without it, they fail.
  const bool reissues = (device_->info.flags & f_user_recovery_reissue) != 0;
  for (auto& s : slots_) {
    if (!s.request) continue;
    if (reissues) {
      device_->pending[index_].push_front(s.request);
    } else {
      s.request->result = -EIO;
      s.request->is_done = true;
    }
    s.request.reset();
  }
  device_->changed.notify_all();
}

// ---- driver

namespace {

class opened_device final : public kernel_device {
 public:
  explicit opened_device(std::shared_ptr<played_device> device) : device_(std::move(device)) {}
  ~opened_device() override { device_->server_ended(); }
  opened_device(const opened_device&) = delete;
  opened_device& operator=(const opened_device&) = delete;

  [[nodiscard]] std::unique_ptr<kernel_queue> open_queue(const asio::any_io_executor& executor,
                                                         std::uint16_t index,
                                                         std::uint16_t depth) override {
    return std::make_unique<played_queue>(device_, executor, index, depth);
  }

 private:
  std::shared_ptr<played_device> device_;
};

/// Waits for a condition; a test that hangs here would never end.
template <class Condition>
void await(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
           Condition condition) {
  if (!changed.wait_for(lock, std::chrono::seconds(20), condition))
    throw failure(errc::timed_out, "played kernel: wait for the server");
}

}  // namespace

void played_driver::enter(const std::string& command) {
  const std::lock_guard lock(mutex_);
  log.push_back(command);
  if (command == failing) throw_errno(EIO, command);
}

std::shared_ptr<played_device> played_driver::find(std::uint32_t index, const char* command) {
  enter(command);
  const std::lock_guard lock(mutex_);
  if (index >= devices.size() || !devices[index]) throw_errno(ENODEV, command);
  return devices[index];
}

std::string played_driver::last() {
  const std::lock_guard lock(mutex_);
  return log.empty() ? std::string() : log.back();
}

std::uint64_t played_driver::features() {
  enter("features");
  return offered;
}

dev_info played_driver::add(const dev_info& wanted) {
  enter("add");
  const std::lock_guard lock(mutex_);
  if (wanted.dev_id != any_device) {
    if (wanted.dev_id < devices.size() && devices[wanted.dev_id]) throw_errno(EEXIST, "add");
    devices.resize(std::max<std::size_t>(devices.size(), wanted.dev_id));
  }
  auto made = std::make_shared<played_device>();
  made->info = wanted;
  if (wanted.dev_id == any_device) made->info.dev_id = static_cast<std::uint32_t>(devices.size());
  made->info.nr_hw_queues = std::min(wanted.nr_hw_queues, most_queues);
  made->pending.resize(made->info.nr_hw_queues);
  made->queues.resize(made->info.nr_hw_queues);
  if (made->info.dev_id < devices.size())
    devices[made->info.dev_id] = made;
  else
    devices.push_back(made);
  return made->info;
}

void played_driver::set_params(std::uint32_t index, const params& value) {
  const auto device = find(index, "set_params");
  const std::lock_guard lock(device->mutex);
  if (device->is_started) throw_errno(EACCES, "set_params");
  device->parameters = value;
}

params played_driver::get_params(std::uint32_t index) {
  const auto device = find(index, "get_params");
  const std::lock_guard lock(device->mutex);
  return device->parameters;
}

std::optional<dev_info> played_driver::get_info(std::uint32_t index) {
  enter("get_info");
  const std::lock_guard lock(mutex_);
  if (index >= devices.size() || !devices[index]) return std::nullopt;
  const std::lock_guard device_lock(devices[index]->mutex);
  return devices[index]->info;
}

std::vector<std::uint32_t> played_driver::device_numbers() {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint32_t> out;
  for (std::uint32_t i = 0; i < devices.size(); ++i)
    if (devices[i]) out.push_back(i);
  return out;
}

void played_driver::wait_for_tags(played_device& device) {
  std::unique_lock lock(device.mutex);
  await(lock, device.changed, [&] {
    return std::ranges::all_of(device.queues, [](const played_queue* queue) {
      return queue != nullptr && queue->has_all_tags();
    });
  });
}

void played_driver::start(std::uint32_t index, std::int32_t process) {
  const auto device = find(index, "start");
  wait_for_tags(*device);
  {
    const std::lock_guard lock(device->mutex);
    device->info.ublksrv_pid = process;
    device->info.state = device_state::live;
    device->is_started = true;
  }
  if (!scans_partitions) return;
  const auto scan = device->submit(0, {.sector = 0, .sectors = 8});
  std::unique_lock lock(device->mutex);
  await(lock, device->changed, [&] { return scan->is_done; });
}

bool played_driver::start_recovery(std::uint32_t index) {
  const auto device = find(index, "start_recovery");
  const std::lock_guard lock(device->mutex);
  if (device->is_open || device->info.state != device_state::quiesced) return false;
  if (device->busy_recoveries > 0) {
    --device->busy_recoveries;
    return false;
  }
  return true;
}

void played_driver::end_recovery(std::uint32_t index, std::int32_t process) {
  const auto device = find(index, "end_recovery");
  wait_for_tags(*device);
  const std::lock_guard lock(device->mutex);
  device->info.ublksrv_pid = process;
  device->info.state = device_state::live;
  for (auto* const queue : device->queues)
    queue->wake();
}

std::shared_ptr<kernel_device> played_driver::open(std::uint32_t index) {
  const auto device = find(index, "open");
  const std::lock_guard lock(device->mutex);
  if (std::exchange(device->is_open, true)) return nullptr;
  return std::make_shared<opened_device>(device);
}

void played_driver::stop(std::uint32_t index) {
  const auto device = find(index, "stop");
  std::unique_lock lock(device->mutex);
  // A device without a server aborts its requests. Otherwise, the kernel waits for the server.
  if (device->info.state == device_state::live) {
    await(lock, device->changed, [&] {
      return device->unfinished() == 0 &&
             std::ranges::all_of(device->queues, [](const played_queue* queue) {
               return queue == nullptr || queue->is_idle();
             });
    });
  }
  device->info.state = device_state::dead;
  device->info.ublksrv_pid = -1;
  device->is_aborting = true;
  for (auto* const queue : device->queues)
    if (queue != nullptr) queue->wake();
}

void played_driver::remove(std::uint32_t index) {
  const auto device = find(index, "remove");
  {
    const std::lock_guard lock(device->mutex);
    if (device->is_open) throw failure(errc::timed_out, "played kernel: the device is open");
  }
  const std::lock_guard lock(mutex_);
  devices[index].reset();
}

void played_driver::update_size(std::uint32_t index, std::uint64_t sectors) {
  const auto device = find(index, "update_size");
  const std::lock_guard lock(device->mutex);
  device->parameters.basic.dev_sectors = sectors;
}

void played_driver::write_back(std::uint32_t index) {
  (void)find(index, "write_back");
}

void played_driver::limit_requests(std::uint32_t index, std::uint32_t milliseconds) {
  (void)find(index, ("limit_requests " + std::to_string(milliseconds)).c_str());
}

}  // namespace xenpv::ublk::test
