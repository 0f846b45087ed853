// The custodian's side: its state (custodian_duty) and its process.
// The state is plain data and works without a process, which is how most of it is tested. The main
// process keeps a copy of it, from which it sets up a replacement.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "xen/cleanup.hpp"
#include "xen/custodian_wire.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// The custodian's end of the socket pair: the first number after the standard streams.
inline constexpr int custodian_socket = 3;

/// Limit on the waits of all cleanups together. Enough for the backends of several disks to close,
/// and shorter than a service manager's stop timeout.
inline constexpr std::chrono::seconds cleanup_limit{60};

/// The kept descriptors and the registered cleanups. Owns the descriptors.
class custodian_duty {
 public:
  /// Handles one request. `descriptor` is the one that came with it.
  [[nodiscard]] custodian_reply handle(const custodian_request& request, unique_fd descriptor);

  /// The requests that give an empty duty the state of this one, in order, each with the descriptor
  /// to send along (owned by this duty), or -1.
  [[nodiscard]] std::vector<std::pair<custodian_request, int>> inventory() const;
  /// Returns and forgets the registered cleanups.
  [[nodiscard]] std::vector<named_cleanup> take_cleanups() noexcept;

  /// Leaves the descriptors kept across a resume open until this process ends.
  void leak_kept_for_ever() noexcept;
  /// Closes the descriptors held only until the cleanups have run.
  void close_held() noexcept;
  /// Closes the descriptors that no resume affected.
  void close_releasable() noexcept;
  /// True if a resume forbids ever closing some descriptor.
  [[nodiscard]] bool must_stay() const noexcept;
  /// The number of resumes reported to it.
  [[nodiscard]] unsigned resumes() const noexcept { return resumes_; }
  /// True if the main process stopped cleanly.
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  /// In the order of registration; a replaced one keeps its position.
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

/// Runs the custodian in a forked or executed process; `inherited` is its end of the socket pair.
/// Sends an empty reply once it ignores signals and has closed its parent's descriptors.
[[noreturn]] void run_as_custodian(unique_fd inherited) noexcept;

}  // namespace xenpv::xen
