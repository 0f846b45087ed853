// The custodian's own side: what it knows (custodian_duty) and its life as a process.
// The duty is plain data and runs without a process, which is how most of it is tested. The main
// process has one too, as a copy of what it gave away: a replacement is given the same.
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

/// Where the custodian's end of the socket pair lives: the first number after the standard streams.
inline constexpr int custodian_socket = 3;

/// What the waits of all cleanups together may take. Enough for the backends of several disks to
/// close; a service manager's patience is longer.
inline constexpr std::chrono::seconds cleanup_limit{60};

/// Descriptors kept and cleanups registered. Owns the descriptors.
class custodian_duty {
 public:
  /// Carries out one request. `descriptor` is what came with it.
  [[nodiscard]] custodian_reply handle(const custodian_request& request, unique_fd descriptor);

  /// What brings an empty duty into the state of this one: requests in order, each with the
  /// descriptor to send beside it (owned by this duty), or -1.
  [[nodiscard]] std::vector<std::pair<custodian_request, int>> inventory() const;
  /// The cleanups registered so far, which are forgotten.
  [[nodiscard]] std::vector<named_cleanup> take_cleanups() noexcept;

  /// Never to be closed by this process: leaves the descriptors that a resume touched to its end.
  void leak_kept_for_ever() noexcept;
  /// Closes what was only to outlast the cleanups.
  void close_held() noexcept;
  /// Closes what no resume touched.
  void close_releasable() noexcept;
  /// A resume forbids closing something, now or ever.
  [[nodiscard]] bool must_stay() const noexcept;
  /// How many it was told of.
  [[nodiscard]] unsigned resumes() const noexcept { return resumes_; }
  /// The main process stopped cleanly.
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  /// In the order of their registration; replacing one keeps its place.
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

/// The life of the process, forked or executed; `socket` is its end of the pair. Announces
/// itself with an empty reply once it ignores signals and holds nothing of its parent's.
[[noreturn]] void live_as_custodian(unique_fd socket) noexcept;

}  // namespace xenpv::xen
