// The custodian's own side: what it knows (custodian_duty) and its life as a process.
// The duty is plain data and runs without a process, which is how most of it is tested.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "xen/cleanup.hpp"
#include "xen/custodian_wire.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// Descriptors kept and cleanups registered. Owns the descriptors.
class custodian_duty {
 public:
  /// Carries out one request. `descriptor` is what came with it.
  [[nodiscard]] custodian_reply handle(const custodian_request& request, unique_fd descriptor);

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
  std::uint64_t next_id_ = 1;
  unsigned resumes_ = 0;
  bool stopped_ = false;
};

/// The life of the forked process, from the fork on; `socket` is its end of the pair. Announces
/// itself with an empty reply once it ignores signals and holds nothing of its parent's.
[[noreturn]] void live_as_custodian(unique_fd socket) noexcept;

}  // namespace xenpv::xen
