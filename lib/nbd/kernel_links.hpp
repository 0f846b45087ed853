// The socket pairs between the kernel NBD driver and the server in this process: one link for each
// of the kernel's queues. Used on the control thread. Only kernel_attachment sends requests to the
// kernel.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "xenpv/base/unique_fd.hpp"
#include "xenpv/nbd/kernel_driver.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

class kernel_links : public std::enable_shared_from_this<kernel_links> {
 public:
  /// Prepares `count` unconnected links, distributed over the `queues` queues of the server's
  /// device. `changed` is called after a link has ended, as long as this object exists. `delegate`
  /// enlarges the buffers of the sockets; null: this process does.
  kernel_links(server& nbd_server, std::size_t count, std::size_t queues,
               std::function<void()> changed, kernel_delegate* delegate = nullptr);

  /// Replaces each dead link with a new one, which the server already serves, and returns the
  /// kernel's ends. Throws `failure`.
  ///
  /// A link counts as dead only when all its requests have been answered, so that the disk
  /// processes the original of a write before the copy that the kernel resends over a new link.
  [[nodiscard]] std::vector<unique_fd> renew();

  [[nodiscard]] std::size_t count() const noexcept { return links_.size(); }
  [[nodiscard]] std::size_t alive() const noexcept;
  /// Whether the kernel sent NBD_CMD_DISC on a link, which means that it releases the device.
  [[nodiscard]] bool disconnect_received() const noexcept;
  /// Number of consecutive links that died immediately because the kernel rejected them.
  [[nodiscard]] unsigned short_lived() const noexcept { return short_lived_; }

 private:
  struct link {
    std::uint64_t generation = 0;  ///< number of the socket; reports of older ones are ignored
    bool alive = false;
    bool disconnect_received = false;
    std::chrono::steady_clock::time_point created;
  };
  void ended(std::size_t number, std::uint64_t generation, bool disconnect_received);

  server& server_;
  std::size_t queues_;
  std::function<void()> changed_;
  kernel_delegate* delegate_;
  std::vector<link> links_;
  std::uint64_t generations_ = 0;
  unsigned short_lived_ = 0;
};

}  // namespace xenpv::nbd
