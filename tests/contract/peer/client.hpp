// The guest side of the two-domain cases: a client that sends commands and receives replies, and
// the fixture for cases that need a peer.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "contract/event_handle.hpp"
#include "contract/peer/commands.hpp"
#include "contract/store_session.hpp"

namespace xenpv::contract {

class peer_client {
 public:
  peer_client();

  /// Sends a command made of strings and numbers, and returns the reply. Throws
  /// std::runtime_error if no reply arrives in time.
  template <class... Words>
  peer_reply ask(const Words&... words) {
    return send({to_word(words)...});
  }
  /// Like ask(), for commands that must succeed; throws std::system_error with the peer's errno.
  template <class... Words>
  peer_reply must(const Words&... words) {
    return succeed(send({to_word(words)...}));
  }
  /// Like must(), but takes a vector of words.
  peer_reply must_all(std::vector<std::string> words) { return succeed(send(std::move(words))); }

 private:
  [[nodiscard]] static std::string to_word(const char* text) { return text; }
  [[nodiscard]] static std::string to_word(const std::string& text) { return text; }
  [[nodiscard]] static std::string to_word(std::uint32_t number) { return std::to_string(number); }
  [[nodiscard]] static peer_reply succeed(peer_reply reply);
  peer_reply send(std::vector<std::string> words);

  store_session store_;
};

/// Skips the case if no peer is running. Each case gets a new worker, which holds no resources.
class peer_case : public testing::Test {
 protected:
  void SetUp() override;

  static constexpr std::uint32_t dom0 = 0;
  static constexpr std::uint32_t long_enough = 10'000;  ///< milliseconds
  peer_client& peer() { return *peer_; }
  /// Makes the worker exit without releasing anything, and waits for the next worker.
  void replace_worker();

 private:
  std::unique_ptr<peer_client> peer_;
};

}  // namespace xenpv::contract
