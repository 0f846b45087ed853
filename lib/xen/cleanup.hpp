// Runs a custodian's cleanup steps in order. A failed step does not stop the next ones; one time
// limit bounds all waits. Runs in the custodian, once, after the main process died.
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

/// The xenstore and the clock of a cleanup. All members except now() may throw `failure`.
class cleanup_store {
 public:
  virtual ~cleanup_store() = default;

  virtual void write(const std::string& path, const std::string& value) = 0;
  virtual void remove(const std::string& path) = 0;
  /// nullopt if there is no such node.
  [[nodiscard]] virtual std::optional<std::string> read(const std::string& path) = 0;
  virtual void watch(const std::string& path) = 0;
  virtual void unwatch(const std::string& path) = 0;
  /// Returns when a watched node may have changed, or after `at_most`.
  virtual void wait_for_change(std::chrono::milliseconds at_most) = 0;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point now() = 0;
};

/// Opens a separate connection to xenstored. Throws `failure`.
[[nodiscard]] std::unique_ptr<cleanup_store> open_cleanup_store();

/// Runs all steps of all cleanups; failures and expired waits go to log(). All waits together take
/// at most `limit`; after that, the steps that do not wait still run. Does not cover a xenstored
/// that stops answering during a request: libxenstore waits for it.
void run_cleanups(std::span<const named_cleanup> cleanups, cleanup_store& store,
                  std::chrono::milliseconds limit);

}  // namespace xenpv::xen
