// Runs cleanup steps in order. A failed step does not prevent later steps. A single time limit
// covers all waits. Runs in the custodian process (xenpv/xen/custodian.hpp), on request or after
// the death of the main process.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "xenpv/xen/custodian.hpp"

namespace xenpv::xen {

struct named_cleanup {
  std::string name;
  std::vector<cleanup_step> steps;
};

/// The xenstore connection and clock of a cleanup. All members except now() may throw `failure`.
class cleanup_store {
 public:
  virtual ~cleanup_store() = default;

  virtual void write(const std::string& path, const std::string& value) = 0;
  virtual void remove(const std::string& path) = 0;
  /// Returns nullopt if the node does not exist.
  [[nodiscard]] virtual std::optional<std::string> read(const std::string& path) = 0;
  virtual void watch(const std::string& path) = 0;
  virtual void unwatch(const std::string& path) = 0;
  /// Waits until a watched node may have changed, but at most `at_most`.
  virtual void wait_for_change(std::chrono::milliseconds at_most) = 0;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point now() = 0;
};

/// Opens a separate connection to xenstored. Throws `failure`.
[[nodiscard]] std::unique_ptr<cleanup_store> open_cleanup_store();

/// Runs all steps of all cleanups; logs failures and expired waits. The waits take at most `limit`
/// in total; after that, steps run without waiting. The limit does not apply if xenstored stops
/// replying: libxenstore then blocks.
void run_cleanups(std::span<const named_cleanup> cleanups, cleanup_store& store,
                  std::chrono::milliseconds limit);

}  // namespace xenpv::xen
