// The guest side of the two-domain cases: orders out, replies in, and the fixture that needs a
// peer.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "contract/event_handle.hpp"
#include "contract/peer/orders.hpp"
#include "contract/store_session.hpp"

namespace xenpv::contract {

class peer_client {
 public:
  peer_client();

  /// Waits for the reply. Words are strings or numbers. Throws std::runtime_error when none comes.
  template <class... Words>
  peer_reply ask(const Words&... words) {
    return send({to_word(words)...});
  }
  /// For orders that must work; throws std::system_error with the peer's errno.
  template <class... Words>
  peer_reply must(const Words&... words) {
    return succeed(send({to_word(words)...}));
  }
  /// The same for a list of words.
  peer_reply must_all(std::vector<std::string> words) { return succeed(send(std::move(words))); }

 private:
  [[nodiscard]] static std::string to_word(const char* text) { return text; }
  [[nodiscard]] static std::string to_word(const std::string& text) { return text; }
  [[nodiscard]] static std::string to_word(std::uint32_t number) { return std::to_string(number); }
  [[nodiscard]] static peer_reply succeed(peer_reply reply);
  peer_reply send(std::vector<std::string> words);

  store_session store_;
};

/// Skips where no peer is announced. Each case gets a worker that has nothing yet.
class peer_case : public testing::Test {
 protected:
  void SetUp() override;

  /// Domain 0, seen from here.
  static constexpr std::uint32_t dom0 = 0;
  static constexpr std::uint32_t long_enough = 10'000;  ///< milliseconds
  peer_client& peer() { return *peer_; }
  /// The worker dies without releasing anything, and the next one is up.
  void replace_worker();

 private:
  std::unique_ptr<peer_client> peer_;
};

}  // namespace xenpv::contract
