#include "blk/uring_device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include <cerrno>
#include <utility>

#include "blk/clock.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::blk {
namespace {

template <class T>
T query(int fd, unsigned long code, const std::string& path) {
  T value{};
  if (::ioctl(fd, code, &value) != 0) throw_errno(fmt::format("query the geometry of {}", path));
  return value;
}

geometry read_geometry(int fd, const std::string& path, bool read_only) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_errno(fmt::format("stat {}", path));
  geometry shape;
  shape.can_flush = true;
  shape.can_discard = true;
  shape.read_only = read_only;
  shape.preferred_transfer = std::uint64_t{128} << 10U;
  if (!S_ISBLK(status.st_mode)) {
    shape.size = static_cast<std::uint64_t>(status.st_size);
    return shape;
  }
  shape.size = query<std::uint64_t>(fd, BLKGETSIZE64, path);
  shape.sector_size = static_cast<std::uint32_t>(query<int>(fd, BLKSSZGET, path));
  shape.physical_sector_size = query<std::uint32_t>(fd, BLKPBSZGET, path);
  return shape;
}

std::string remedy_for(int problem, const uring_device::options& options) {
  if (problem == EINVAL && options.direct) return "its file system may not support O_DIRECT";
  if (problem == EBUSY) return "it is in use: see mount, swapon --show, lsblk";
  return {};
}

}  // namespace

class uring_device::uring_queue final : public block_queue {
 public:
  uring_queue(const asio::any_io_executor& executor, const geometry& shape, unique_fd file,
              unsigned depth)
      : file_(std::move(file)), event_(executor), depth_(depth) {
    shape_ = shape;
    // An empty pool: the kernel accepts any memory, so leases are not needed.
    pages_ = std::make_shared<page_pool>(std::span<std::byte>());
    const int code = ::io_uring_queue_init(depth, &ring_, 0);
    if (code < 0)
      throw_errno(-code, "set up io_uring",
                  code == -EPERM || code == -ENOSYS
                      ? "not available in this kernel or container; see io_uring_disabled in "
                        "/proc/sys/kernel"
                      : "");
    unique_fd events(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const int failed = events ? ::io_uring_register_eventfd(&ring_, events.get()) : -errno;
    if (failed != 0) {
      ::io_uring_queue_exit(&ring_);
      throw_errno(-failed, "set up the io_uring eventfd");
    }
    event_.assign(events.release());
  }

  ~uring_queue() override { ::io_uring_queue_exit(&ring_); }

  [[nodiscard]] asio::any_io_executor get_executor() const override {
    return const_cast<asio::posix::stream_descriptor&>(event_).get_executor();
  }

  void submit(request& r) override {
    r.status = {};
    r.device.planned = 0;
    append(r);
    if (in_turn_ || scheduled_) return;
    scheduled_ = true;
    asio::post(get_executor(), [this] {
      scheduled_ = false;
      commit();
    });
  }

  void commit() override {
    if (in_turn_) return;
    while (first_ != nullptr && in_flight_ < depth_ && enter(*first_))
      first_ = std::exchange(first_->device.next, nullptr);
    if (first_ == nullptr) last_ = nullptr;
    ::io_uring_submit(&ring_);
    listen();
  }

  void close() {
    boost::system::error_code ignored;
    event_.close(ignored);
  }

 private:
  void append(request& r) {
    r.device.next = nullptr;
    (last_ == nullptr ? first_ : last_->device.next) = &r;
    last_ = &r;
  }

  /// Returns false if the submission ring is full.
  bool enter(request& r) {
    auto* const entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) return false;
    const auto done = r.device.planned;
    const auto offset = r.offset + done;
    const auto length = r.length - done;
    switch (r.op) {
      case operation::read:
        ::io_uring_prep_read(entry, file_.get(), r.memory + done, static_cast<unsigned>(length),
                             offset);
        break;
      case operation::write:
        ::io_uring_prep_write(entry, file_.get(), r.memory + done, static_cast<unsigned>(length),
                              offset);
        if (r.fua) entry->rw_flags = RWF_DSYNC;
        break;
      case operation::flush:
        ::io_uring_prep_fsync(entry, file_.get(), IORING_FSYNC_DATASYNC);
        break;
      case operation::discard:
      case operation::secure_discard:
        // Depending on the liburing version, the parameters are off_t or __u64. The fields of the
        // entry are always __u64.
        ::io_uring_prep_fallocate(entry, file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                                  0);
        entry->off = offset;
        entry->addr = length;
        break;
    }
    ::io_uring_sqe_set_data(entry, &r);
    ++in_flight_;
    return true;
  }

  void listen() {
    if (listening_ || in_flight_ == 0) return;
    listening_ = true;
    event_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [this](boost::system::error_code code) {
                        listening_ = false;
                        if (!code) drain();
                      });
  }

  void drain() {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const auto got = ::read(event_.native_handle(), &ignored, sizeof ignored);
    in_turn_ = true;
    now_ns_ = now_ns();
    io_uring_cqe* entry = nullptr;
    while (::io_uring_peek_cqe(&ring_, &entry) == 0) {
      auto& r = *static_cast<request*>(::io_uring_cqe_get_data(entry));
      const int result = entry->res;
      ::io_uring_cqe_seen(&ring_, entry);
      --in_flight_;
      answer(r, result);
    }
    in_turn_ = false;
    commit();
  }

  void answer(request& r, int result) {
    const bool moves_data = r.op == operation::read || r.op == operation::write;
    if (result < 0) {
      r.status = {-result, std::generic_category()};
    } else if (moves_data) {
      r.device.planned += static_cast<std::uint64_t>(result);
      if (r.device.planned < r.length) {
        // After a short transfer, submit the rest. A count of 0 bytes means the end of the device.
        if (result > 0) return append(r);
        r.status = std::make_error_code(std::errc::invalid_argument);
      }
    }
    r.answered_ns = now_ns_;
    r.done(r);
  }

  unique_fd file_;
  asio::posix::stream_descriptor event_;
  unsigned depth_;
  io_uring ring_{};
  request* first_ = nullptr;  ///< list of requests waiting for a submission entry
  request* last_ = nullptr;
  unsigned in_flight_ = 0;
  std::uint64_t now_ns_ = 0;  ///< start time of the current drain()
  bool scheduled_ = false;
  bool listening_ = false;
  bool in_turn_ = false;
};

uring_device::uring_device() = default;
uring_device::~uring_device() = default;

std::unique_ptr<uring_device> uring_device::open(
    const std::string& path, const std::vector<asio::any_io_executor>& executors, options options) {
  if (executors.empty())
    throw failure(errc::invalid_argument, fmt::format("open {}", path),
                  "at least one executor is required");
  // O_EXCL without O_CREAT is defined only for block devices.
  struct stat status {};
  const bool is_block = ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
  const int flags = (options.read_only ? O_RDONLY : O_RDWR | (is_block ? O_EXCL : 0)) |
                    (options.direct ? O_DIRECT : 0) | O_CLOEXEC;
  unique_fd file(::open(path.c_str(), flags));
  if (!file) throw_errno(fmt::format("open {}", path), remedy_for(errno, options));
  std::unique_ptr<uring_device> out(new uring_device);
  out->shape_ = read_geometry(file.get(), path, options.read_only);
  for (const auto& executor : executors)
    out->queues_.push_back(std::make_unique<uring_queue>(
        executor, out->shape_, unique_fd::duplicate(file.get()), options.depth));
  return out;
}

std::size_t uring_device::queue_count() const noexcept {
  return queues_.size();
}

block_queue& uring_device::queue(std::size_t index) noexcept {
  return *queues_[index];
}

const geometry& uring_device::shape() const noexcept {
  return shape_;
}

asio::awaitable<void> uring_device::close() {
  for (const auto& device_queue : queues_) {
    auto close_one = [&device_queue] { device_queue->close(); };
    co_await async::call_on(device_queue->get_executor(), close_one);
  }
}

}  // namespace xenpv::blk
