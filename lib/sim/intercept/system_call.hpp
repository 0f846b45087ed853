// A system call that waits for the supervisor's answer (seccomp_unotify(2)).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace xenpv::sim::intercept {

/// Answer each call exactly once. The answer to a call whose thread was killed is ignored.
class system_call {
 public:
  /// Receives a call from the filter's listener. Returns nothing if none is waiting any more.
  [[nodiscard]] static std::optional<system_call> receive(int listener) noexcept;

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] pid_t thread() const noexcept { return thread_; }
  [[nodiscard]] std::uint64_t argument(std::size_t index) const noexcept {
    return arguments_[index];
  }
  /// For arguments of type int or unsigned.
  [[nodiscard]] int int_argument(std::size_t index) const noexcept {
    return static_cast<int>(arguments_[index]);
  }

  /// False if the thread was killed. Then, its ID may belong to another process: check this between
  /// inspecting the thread and acting on the result.
  [[nodiscard]] bool is_waiting() const noexcept;

  /// Lets the kernel execute the call.
  void run_natively() noexcept;
  void return_value(std::int64_t value) noexcept;
  void fail(int error) noexcept;
  /// Returns `value` or, if that is -1, fails with the current errno.
  void return_result(std::int64_t value) noexcept;
  /// Installs a duplicate of `fd` in the calling process and returns its number: `number`, or the
  /// lowest free one.
  void return_descriptor(int fd, bool close_on_exec,
                         std::optional<unsigned> number = std::nullopt) noexcept;

 private:
  system_call() = default;
  void answer(std::int64_t value, int error, std::uint32_t flags) noexcept;

  int listener_ = -1;
  std::uint64_t id_ = 0;
  pid_t thread_ = 0;
  int number_ = 0;
  std::array<std::uint64_t, 6> arguments_{};
};

}  // namespace xenpv::sim::intercept
