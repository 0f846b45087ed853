// The bytes of a disk as its service keeps them: opened once, given to each ring as a store.
//
// Owned by the control thread; the stores belong to their rings' threads.
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
  /// Bytes. Throws `failure`. Rings that could use what is cut off have been told.
  virtual void resize(std::uint64_t size) = 0;
  /// A store for a ring that lives on `ring`.
  [[nodiscard]] virtual std::unique_ptr<store> make_store(async::asio::any_io_executor ring) = 0;
  /// Whether all its rings must live on one thread.
  [[nodiscard]] virtual bool is_single_threaded() const { return false; }
  /// Loses what was not flushed, if it can; no ring uses it.
  virtual void power_cut(std::uint64_t /*seed*/) {}
  /// "major:minor" in hexadecimal, as a hotplug script writes it.
  [[nodiscard]] virtual std::string physical_device() const { return "0:0"; }
};

}  // namespace xenpv::blkback
