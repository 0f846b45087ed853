// The custodian's side: the task list (custodian_duty) and the process that works on it. The task
// list is plain data, so most tests use it without a process. The main process keeps a copy, from
// which it initialises a replacement.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "xen/cleanup.hpp"
#include "xen/custodian_wire.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// Descriptor number of the custodian's end of the socket pair: the first after the standard
/// streams.
inline constexpr int custodian_socket = 3;

/// Limit on the total time that all cleanups spend waiting. Long enough for the backends of several
/// disks to close, but shorter than the stop timeout of a service manager.
inline constexpr std::chrono::seconds cleanup_limit{60};

/// The custodian's task list: the descriptors to keep open and the cleanups to run. Owns the
/// descriptors.
class custodian_duty {
 public:
  /// Handles one request. `descriptor` is the descriptor received with the request, if any.
  [[nodiscard]] custodian_reply handle(const custodian_request& request, unique_fd descriptor);

  /// Returns, in order, the requests that recreate this task list in an empty custodian_duty. Each
  /// request is paired with the descriptor to send (still owned by this object), or with -1.
  [[nodiscard]] std::vector<std::pair<custodian_request, int>> inventory() const;
  /// Removes and returns the registered cleanups.
  [[nodiscard]] std::vector<named_cleanup> take_cleanups() noexcept;

  /// Leaves the descriptors kept across a resume open until this process exits.
  void leak_kept_for_ever() noexcept;
  /// Closes the descriptors held only until the cleanups have run.
  void close_held() noexcept;
  /// Closes the descriptors that are not affected by a resume.
  void close_releasable() noexcept;
  /// True if a resume requires some descriptor to stay open permanently.
  [[nodiscard]] bool must_stay() const noexcept;
  [[nodiscard]] unsigned resumes() const noexcept { return resumes_; }
  /// True if the main process stopped cleanly.
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  /// In registration order; a replaced cleanup keeps its position.
  [[nodiscard]] const std::vector<named_cleanup>& cleanups() const noexcept { return cleanups_; }

 private:
  struct visitor;

  std::map<std::uint64_t, unique_fd> releasable_;
  std::map<std::uint64_t, unique_fd> kept_for_ever_;
  std::vector<unique_fd> held_;
  std::vector<named_cleanup> cleanups_;
  unsigned resumes_ = 0;
  bool stopped_ = false;
};

/// Whether the custodian's memory is locked, as it must be if the system may swap to a disk that
/// the custodian closes.
enum class custodian_memory { pageable, locked };

/// The argument of the program xenpv-custodian for custodian_memory::locked.
inline constexpr const char* lock_memory_argument = "--lock-memory";

/// Begins the argument that selects how the program xenpv-custodian confines itself: on, log or
/// off.
inline constexpr const char* sandbox_argument = "--sandbox=";

/// Runs the custodian in an executed process; `inherited` is its end of the socket pair. Calls
/// `confine`, which drops the process's privileges, when nothing is left to do that needs them.
/// Sends an empty reply once it ignores signals, has closed its parent's descriptors and is
/// confined. An error of `confine` is logged: a custodian with privileges is better than none.
[[noreturn]] void run_as_custodian(unique_fd inherited, custodian_memory memory,
                                   const std::function<void()>& confine) noexcept;

}  // namespace xenpv::xen
