// Runs cleanup steps in order. A failed step does not prevent the later ones. One time limit bounds
// all waits together. Runs in the custodian process (xenpv/xen/custodian.hpp), after the main
// process died or on its request.
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

/// The xenstore connection and the clock that a cleanup uses. All members except now() may throw
/// `failure`.
class cleanup_store {
 public:
  virtual ~cleanup_store() = default;

  virtual void write(const std::string& path, const std::string& value) = 0;
  virtual void remove(const std::string& path) = 0;
  /// Returns nullopt if the node does not exist.
  [[nodiscard]] virtual std::optional<std::string> read(const std::string& path) = 0;
  virtual void watch(const std::string& path) = 0;
  virtual void unwatch(const std::string& path) = 0;
  /// Returns when a watched node may have changed, or after `at_most`.
  virtual void wait_for_change(std::chrono::milliseconds at_most) = 0;
  [[nodiscard]] virtual std::chrono::steady_clock::time_point now() = 0;
};

/// Opens a separate connection to xenstored. Throws `failure`.
[[nodiscard]] std::unique_ptr<cleanup_store> open_cleanup_store();

/// Runs all steps of all cleanups; logs failures and expired waits. All waits together take at most
/// `limit`; steps that do not wait run even after that. The limit does not cover a xenstored that
/// stops replying during a request: libxenstore then blocks.
void run_cleanups(std::span<const named_cleanup> cleanups, cleanup_store& store,
                  std::chrono::milliseconds limit);

}  // namespace xenpv::xen
