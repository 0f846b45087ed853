// The socket pairs between the kernel's NBD driver and this process's server: one link for each of
// the kernel's queues. On the control thread. Asks the kernel for nothing (kernel_attachment does).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "xenpv/base/unique_fd.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

class kernel_links : public std::enable_shared_from_this<kernel_links> {
 public:
  /// `count` links, none alive yet, spread over `queues` queues of the server's device. `changed`
  /// is called after one has ended, as long as this object lives.
  kernel_links(server& on, std::size_t count, std::size_t queues, std::function<void()> changed);

  /// Makes each dead link anew, already served, and returns the kernel's ends of them. Throws
  /// `failure`.
  ///
  /// A link counts as dead only when all its requests are answered. So a write that the kernel
  /// sends again over a new link cannot be overtaken by its own first copy.
  [[nodiscard]] std::vector<unique_fd> renew();

  [[nodiscard]] std::size_t count() const noexcept { return links_.size(); }
  [[nodiscard]] std::size_t alive() const noexcept;
  /// The kernel took its leave on some link: it lets go of the device.
  [[nodiscard]] bool said_goodbye() const noexcept;
  /// How many links in a row died at once: the kernel did not want them.
  [[nodiscard]] unsigned unwanted() const noexcept { return unwanted_; }

 private:
  struct link {
    std::uint64_t generation = 0;  ///< counts the sockets; an old one's end is no news
    bool alive = false;
    bool said_goodbye = false;
    std::chrono::steady_clock::time_point since;
  };
  void ended(std::size_t number, std::uint64_t generation, bool said_goodbye);

  server& server_;
  std::size_t queues_;
  std::function<void()> changed_;
  std::vector<link> links_;
  std::uint64_t generations_ = 0;
  unsigned unwanted_ = 0;
};

}  // namespace xenpv::nbd
