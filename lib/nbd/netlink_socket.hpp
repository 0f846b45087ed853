// A netlink socket, or a socket whose peer emulates the kernel: sends requests and receives the
// replies. Owns the descriptor. Use from one thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nbd/codec_netlink.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// A message that owns its bytes.
struct netlink_answer {
  std::uint16_t type = 0;
  std::uint8_t command = 0;
  std::vector<std::byte> attributes;
};

/// The reason why a request failed.
struct netlink_refusal {
  int error = 0;    ///< errno value
  std::string why;  ///< the kernel's extended ACK message; often empty
};

/// Opens a generic netlink socket. Throws `failure`.
[[nodiscard]] unique_fd open_generic_netlink();

class netlink_socket {
 public:
  explicit netlink_socket(unique_fd socket) : socket_(std::move(socket)) {}

  /// Sends `request` and waits until the kernel acknowledges or refuses it. Appends the replies
  /// received before that to `answers`. Throws a `failure` that begins with `action` for socket
  /// errors, and if the kernel does not reply within `timeout`.
  [[nodiscard]] std::optional<netlink_refusal> ask(const netlink_request& request,
                                                   std::string_view action,
                                                   std::vector<netlink_answer>& answers);
  /// Subscribes to the notifications of a group. Returns false if this socket does not support it.
  [[nodiscard]] bool join(std::uint32_t group) noexcept;
  /// Returns the notifications received so far, or nullopt once they can no longer arrive. Does not
  /// block.
  [[nodiscard]] std::optional<std::vector<netlink_answer>> take_notices();

  [[nodiscard]] std::uint32_t next_sequence() noexcept { return ++sequence_; }
  [[nodiscard]] int get() const noexcept { return socket_.get(); }

  /// The time limit matters only for a peer that emulates the kernel: the kernel itself replies
  /// before send() returns.
  static constexpr std::chrono::seconds timeout{10};

 private:
  [[nodiscard]] bool receive(int flags);

  unique_fd socket_;
  std::uint32_t sequence_ = 0;
  std::vector<std::byte> received_;
};

}  // namespace xenpv::nbd
