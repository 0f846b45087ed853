// A disk's medium. The service opens the medium once; each ring accesses it through its own store.
//
// Owned by the control thread; each store belongs to its ring's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "blkback/disk_plan.hpp"
#include "blkback/store.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::blkback {

class medium {
 public:
  virtual ~medium() = default;

  /// Throws `failure` naming the file.
  [[nodiscard]] static std::shared_ptr<medium> open(const disk_plan& plan);

  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// Sets the size in bytes. Throws `failure`. Before a medium shrinks, the caller must have set
  /// the new size in all rings.
  virtual void resize(std::uint64_t size) = 0;
  /// Creates a store for a ring that runs on `executor`.
  [[nodiscard]] virtual std::unique_ptr<store> make_store(asio::any_io_executor executor) = 0;
  /// Returns true if all rings of the disk must run on one thread.
  [[nodiscard]] virtual bool is_single_threaded() const { return false; }
  /// Simulates a power cut: a medium with a volatile cache loses unflushed writes. The disk's rings
  /// must not be in use during the call.
  virtual void power_cut(std::uint64_t /*seed*/) {}
  /// Returns "major:minor" in hexadecimal, in the format of a hotplug script.
  [[nodiscard]] virtual std::string physical_device() const { return "0:0"; }
};

}  // namespace xenpv::blkback
