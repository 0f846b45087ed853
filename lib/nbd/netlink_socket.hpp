// A netlink socket, or one on which somebody speaks the kernel's side: a request goes out, what
// answers it comes back. Owns the descriptor. One thread at a time.
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

/// Why a request was not carried out.
struct netlink_refusal {
  int error = 0;    ///< an errno
  std::string why;  ///< the kernel's words; often none
};

/// A socket to the kernel's generic netlink. Throws `failure`.
[[nodiscard]] unique_fd open_generic_netlink();

class netlink_socket {
 public:
  explicit netlink_socket(unique_fd socket) : socket_(std::move(socket)) {}

  /// Sends `request` and waits until it is acknowledged or refused; `answers` gets what came
  /// before. Throws `failure` that begins with `what`: for the socket's errors, and when nothing
  /// has come for `patience`.
  [[nodiscard]] std::optional<netlink_refusal> ask(const netlink_request& request,
                                                   std::string_view what,
                                                   std::vector<netlink_answer>& answers);
  /// Notifications of that group arrive from now on. false: not on this socket.
  [[nodiscard]] bool join(std::uint32_t group) noexcept;
  /// What has arrived by itself. Does not block. nullopt: nothing more can come.
  [[nodiscard]] std::optional<std::vector<netlink_answer>> take_notices();

  [[nodiscard]] std::uint32_t next_sequence() noexcept { return ++sequence_; }
  [[nodiscard]] int get() const noexcept { return socket_.get(); }

  /// The kernel has answered before send() returns; this is for others who play it.
  static constexpr std::chrono::seconds patience{10};

 private:
  [[nodiscard]] bool receive(int flags);

  unique_fd socket_;
  std::uint32_t sequence_ = 0;
  std::vector<std::byte> received_;
};

}  // namespace xenpv::nbd
