// Carries out the cleanup steps a custodian was given: in order, each one whatever became of the
// last, within a time that bounds all waiting. Runs in the custodian, once, after the main process
// died.
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

/// The xenstore of a cleanup, and the clock its waits go by. Everything but now() may throw
/// `failure`.
class cleanup_store {
 public:
  virtual ~cleanup_store() = default;

  virtual void write(const std::string& path, const std::string& value) = 0;
  virtual void remove(const std::string& path) = 0;
  /// nullopt when there is no such node.
  [[nodiscard]] virtual std::optional<std::string> read(const std::string& path) = 0;
  virtual void watch(const std::string& path) = 0;
  virtual void unwatch(const std::string& path) = 0;
  /// Returns when a watched node may have changed, or after `at_most`.
  virtual void wait_for_change(std::chrono::milliseconds at_most) = 0;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point now() = 0;
};

/// A connection of its own to xenstored. Throws `failure`.
[[nodiscard]] std::unique_ptr<cleanup_store> open_cleanup_store();

/// Runs all steps of all cleanups. What fails, or is waited for in vain, goes to log(). All waits
/// together take at most `limit`; when it is used up, the steps that do not wait still run. A
/// xenstored that stops answering in the middle of a request is not covered: libxenstore waits for
/// it.
void run_cleanups(std::span<const named_cleanup> cleanups, cleanup_store& store,
                  std::chrono::milliseconds limit);

}  // namespace xenpv::xen
