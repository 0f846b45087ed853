#include "ublk/queue_ring.hpp"

#include <fmt/format.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "ublk/ring_failure.hpp"
#include "xenpv/base/error.hpp"

// Missing in liburing 2.3.
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif

namespace xenpv::ublk {
namespace {

/// The entries of the submission ring; a full ring is submitted early.
constexpr unsigned most_entries = 256;

std::size_t system_page() {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// The descriptors of a queue, in memory that the kernel writes.
class descriptor_map {
 public:
  descriptor_map(int device, std::uint16_t index, std::uint16_t depth)
      : size_(descriptors_size(depth, system_page())) {
    void* const found = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED | MAP_POPULATE, device,
                               static_cast<off_t>(descriptors_position(index, system_page())));
    if (found == MAP_FAILED)
      throw_errno(fmt::format("map the descriptors of ublk queue {}", index));
    memory_ = static_cast<const std::byte*>(found);
  }
  ~descriptor_map() { ::munmap(const_cast<std::byte*>(memory_), size_); }
  descriptor_map(const descriptor_map&) = delete;
  descriptor_map& operator=(const descriptor_map&) = delete;

  [[nodiscard]] io_desc read(std::uint16_t tag) const {
    io_desc out;
    std::memcpy(&out, memory_ + tag * sizeof out, sizeof out);
    return out;
  }

 private:
  const std::byte* memory_ = nullptr;
  std::size_t size_;
};

unique_fd make_event() {
  unique_fd out(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!out) throw_errno("create an eventfd");
  return out;
}

/// An io_uring that can only send commands to one device.
class command_ring {
 public:
  command_ring(int device, std::uint16_t depth) {
    io_uring_params setup{};
    // The kernel delivers requests when the ring is entered, on this thread, instead of
    // interrupting it, and says in the ring that it has some. The ring stays disabled until it is
    // restricted.
    setup.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                  IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    setup.cq_entries = std::max<unsigned>(depth, 2) * 2;
    const unsigned entries = std::min<unsigned>(depth, most_entries);
    check_ring_setup(::io_uring_queue_init_params(entries, &ring_, &setup),
                     "set up io_uring for ublk");
    try {
      check_ring_setup(::io_uring_register_eventfd(&ring_, event_.get()), "register an eventfd");
      restrict(device);
    } catch (...) {
      ::io_uring_queue_exit(&ring_);
      throw;
    }
  }
  ~command_ring() { ::io_uring_queue_exit(&ring_); }
  command_ring(const command_ring&) = delete;
  command_ring& operator=(const command_ring&) = delete;

  /// Becomes readable when the kernel has requests or completions while notify() is on.
  [[nodiscard]] int event() const noexcept { return event_.get(); }
  /// Makes event() unreadable.
  void clear_event() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto size = ::read(event_.get(), &count, sizeof count);
  }
  void notify(bool on) noexcept { ::io_uring_cq_eventfd_toggle(&ring_, on); }
  /// Whether the kernel has requests or completions, or entries that it could not take.
  [[nodiscard]] bool has_work() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const auto flags = std::atomic_ref(*ring_.sq.kflags).load(std::memory_order_relaxed);
    return (flags & IORING_SQ_TASKRUN) != 0 || ::io_uring_cq_ready(&ring_) > 0 || has_unsent();
  }
  /// Whether the kernel could not take all entries, for lack of memory.
  [[nodiscard]] bool has_unsent() noexcept { return ::io_uring_sq_ready(&ring_) > 0; }
  [[nodiscard]] io_uring& get() noexcept { return ring_; }

 private:
  /// The library of Debian 12 does not export its functions for these operations.
  int control(unsigned operation, void* argument, std::size_t count) const {
    const auto code = ::syscall(SYS_io_uring_register, ring_.ring_fd, operation, argument, count);
    return code < 0 ? -errno : 0;
  }

  void restrict(int device) {
    check_ring_setup(::io_uring_register_files(&ring_, &device, 1), "register /dev/ublkcN");
    std::array<io_uring_restriction, 3> allowed{};
    allowed[0].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[0].sqe_op = IORING_OP_URING_CMD;
    allowed[1].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
    allowed[1].sqe_flags = IOSQE_FIXED_FILE;
    allowed[2].opcode = IORING_RESTRICTION_REGISTER_OP;
    allowed[2].register_op = IORING_REGISTER_ENABLE_RINGS;
    check_ring_setup(control(IORING_REGISTER_RESTRICTIONS, allowed.data(), allowed.size()),
                     "restrict the io_uring of ublk");
    check_ring_setup(control(IORING_REGISTER_ENABLE_RINGS, nullptr, 0),
                     "enable the io_uring of ublk");
  }

  /// Linux does not report requests that wait to be delivered to a poll of the ring itself (except
  /// for recent versions).
  unique_fd event_ = make_event();
  io_uring ring_{};
};

class queue_ring final : public kernel_queue {
 public:
  queue_ring(const asio::any_io_executor& executor, std::shared_ptr<const unique_fd> device,
             std::uint16_t index, std::uint16_t depth)
      : device_(std::move(device)),
        index_(index),
        descriptors_(device_->get(), index, depth),
        ring_(device_->get(), depth),
        event_(executor, unique_fd::duplicate(ring_.event()).release()),
        retry_(executor) {}

  void listen(queue_listener& listener) override {
    listener_ = &listener;
    wait();
  }
  void fetch(std::uint16_t tag) override { prepare(io_command::fetch_req, tag, 0); }
  void commit(std::uint16_t tag, std::int32_t result) override {
    prepare(io_command::commit_and_fetch_req, tag, result);
  }

  void submit() override {
    if (is_running_) {
      again_ = true;
      return;
    }
    run();
  }

  [[nodiscard]] io_desc descriptor(std::uint16_t tag) const override {
    return descriptors_.read(tag);
  }

  [[nodiscard]] int copy_from_request(std::uint16_t tag, std::span<const iovec> memory) override {
    return copy(tag, memory, ::preadv);
  }
  [[nodiscard]] int copy_to_request(std::uint16_t tag, std::span<const iovec> memory) override {
    return copy(tag, memory, ::pwritev);
  }

  void close() override {
    closed_ = true;
    alive_.reset();
    boost::system::error_code ignored;
    event_.close(ignored);
    retry_.cancel();
  }

 private:
  void prepare(io_command command, std::uint16_t tag, std::int32_t result) {
    auto* entry = ::io_uring_get_sqe(&ring_.get());
    if (entry == nullptr) {
      ::io_uring_submit(&ring_.get());
      entry = ::io_uring_get_sqe(&ring_.get());
    }
    // The kernel could not take the entries of the full ring.
    if (entry == nullptr) return refused_.push_back(tag);
    std::memset(static_cast<void*>(entry), 0, sizeof *entry);
    entry->opcode = IORING_OP_URING_CMD;
    entry->flags = IOSQE_FIXED_FILE;
    entry->fd = 0;  // the index of the only registered file
    entry->cmd_op = opcode(command);
    entry->user_data = tag;
    const io_cmd content{index_, tag, result, 0};
    std::memcpy(reinterpret_cast<std::byte*>(entry) + offsetof(io_uring_sqe, cmd), &content,
                sizeof content);
  }

  /// Repeats, because the kernel may have delivered requests and the listener may have prepared
  /// commands during an iteration.
  void run() {
    is_running_ = true;
    // Completions that are handled here need no event.
    ring_.notify(false);
    bool is_stuck = false;
    do {
      again_ = false;
      // Also lets the kernel deliver requests.
      ::io_uring_submit_and_get_events(&ring_.get());
      drain();
      if (closed_) break;
      ring_.notify(true);
      is_stuck = ring_.has_unsent();
      if (!again_ && !is_stuck) again_ = ring_.has_work();
      if (again_) ring_.notify(false);
    } while (again_);
    is_running_ = false;
    if (is_stuck && !closed_) run_later();
  }

  /// The kernel lacks memory for the commands; no event follows.
  void run_later() {
    constexpr std::chrono::milliseconds pause(10);
    retry_.expires_after(pause);
    retry_.async_wait(
        [this, alive = std::weak_ptr<const bool>(alive_)](boost::system::error_code code) {
          if (!code && !alive.expired()) submit();
        });
  }

  void drain() {
    io_uring_cqe* entry = nullptr;
    bool any = !refused_.empty();
    for (const auto tag : std::exchange(refused_, {}))
      listener_->completed(tag, -EBUSY);
    while (!closed_ && ::io_uring_peek_cqe(&ring_.get(), &entry) == 0) {
      const auto tag = static_cast<std::uint16_t>(entry->user_data);
      const auto result = entry->res;
      ::io_uring_cqe_seen(&ring_.get(), entry);
      any = true;
      listener_->completed(tag, result);
    }
    if (any && !closed_) listener_->batch_completed();
  }

  void wait() {
    event_.async_wait(
        asio::posix::stream_descriptor::wait_read,
        [this, alive = std::weak_ptr<const bool>(alive_)](boost::system::error_code code) {
          // A handler may already be queued when the queue is closed and destroyed.
          if (code || alive.expired()) return;
          ring_.clear_event();
          run();
          if (!closed_) wait();
        });
  }

  /// Copies all pieces, in calls of at most IOV_MAX.
  template <class Call>
  int copy(std::uint16_t tag, std::span<const iovec> memory, Call call) {
    auto position = data_position(index_, tag);
    while (!memory.empty()) {
      const auto part = memory.first(std::min<std::size_t>(memory.size(), IOV_MAX));
      std::size_t expected = 0;
      for (const auto& piece : part)
        expected += piece.iov_len;
      const auto moved = call(device_->get(), part.data(), static_cast<int>(part.size()),
                              static_cast<off_t>(position));
      if (moved < 0) return errno;
      if (static_cast<std::size_t>(moved) != expected) return EIO;
      position += expected;
      memory = memory.subspan(part.size());
    }
    return 0;
  }

  std::shared_ptr<const unique_fd> device_;
  std::uint16_t index_;
  descriptor_map descriptors_;
  command_ring ring_;
  asio::posix::stream_descriptor event_;
  asio::steady_timer retry_;
  queue_listener* listener_ = nullptr;
  std::vector<std::uint16_t> refused_;  ///< tags whose command could not be sent
  bool is_running_ = false;
  bool again_ = false;
  bool closed_ = false;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace

std::unique_ptr<kernel_queue> open_queue_ring(const asio::any_io_executor& executor,
                                              std::shared_ptr<const unique_fd> device,
                                              std::uint16_t index, std::uint16_t depth) {
  return std::make_unique<queue_ring>(executor, std::move(device), index, depth);
}

}  // namespace xenpv::ublk
