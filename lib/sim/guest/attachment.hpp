// The connection of this process to its simulated host. All of libxensim.so uses this connection.
// Opened at the first use of a /dev/xen device, through a socket in the domain directory
// (XENPV_SIM_DIR). Thread-safe. After a fork, the child opens its own connection, as the C
// libraries require. Depends only on the C library and the shared tables, because it is loaded into
// third-party programs.
//
// The supervisor of intercepted processes (intercept/) has one connection for each of them instead.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "sim/control_wire.hpp"
#include "sim/delivery.hpp"
#include "sim/shared_state.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim::guest {

/// A reply from the host. `error` is an errno, or 0 on success.
struct host_answer {
  int error = 0;
  std::uint64_t a = 0;
  std::vector<std::uint32_t> words;
  unique_fd fd;
};

class attachment final : public port_ring_writer {
 public:
  /// Returns nullptr and sets errno on failure (ENODEV: not in a simulated domain; ECONNREFUSED:
  /// the host has exited).
  [[nodiscard]] static attachment* current() noexcept;

  /// Opens a connection for another process, which the host then treats as the caller. Errors are
  /// as for current().
  [[nodiscard]] static std::unique_ptr<attachment> connect_for(pid_t process) noexcept;
  /// Makes current() return `connection` (not owned), or nullptr for none.
  static void set_current(attachment* connection) noexcept;

  ~attachment();
  attachment(const attachment&) = delete;
  attachment& operator=(const attachment&) = delete;

  [[nodiscard]] host_answer call(control_op op, std::uint64_t a = 0, std::uint64_t b = 0,
                                 std::uint64_t c = 0,
                                 std::span<const std::uint32_t> words = {}) noexcept;

  [[nodiscard]] shared_state& state() noexcept { return *state_; }
  [[nodiscard]] std::uint8_t slot() const noexcept { return slot_; }
  /// True in domain 0, and in guests if the host permits it.
  [[nodiscard]] bool allows_hypercalls() const noexcept {
    return state_->guest_hypercalls.load() || state_->domains[slot_].domain.load() == 0;
  }
  /// Returns the cached descriptor for the pages of the domain in `slot`, or -1 with errno set.
  [[nodiscard]] int memory(std::uint8_t slot) noexcept;

  /// Writes to a handle's ring through a cached descriptor, which the host provides on first use.
  /// Never raises SIGPIPE.
  void write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) override;

 private:
  attachment() = default;
  /// `process`: the process that this connection acts for; 0: this one.
  [[nodiscard]] bool connect(pid_t process) noexcept;
  void close_descriptors() noexcept;
  [[nodiscard]] int waker(std::uint16_t handle, std::uint32_t generation) noexcept;
  static void forget_after_fork() noexcept;

  struct cached_descriptor {
    std::uint32_t generation = 0;
    int fd = -1;
  };
  std::mutex mutex_;
  unique_fd socket_;
  shared_state* state_ = nullptr;
  std::uint8_t slot_ = 0;
  std::mutex descriptors_mutex_;
  std::array<cached_descriptor, max_domains> memories_{};
  /// generation << 32 | descriptor + 1. A descriptor in this table is replaced only with dup3(),
  /// which keeps its number, so a sender that has just read the number cannot write to an unrelated
  /// file.
  std::array<std::atomic<std::uint64_t>, max_handles> wakers_{};
};

}  // namespace xenpv::sim::guest
