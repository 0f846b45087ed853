#include "contract/peer/client.hpp"

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace xenpv::contract {

namespace {

constexpr std::chrono::milliseconds reply_timeout{20'000};

[[nodiscard]] std::string next_id() {
  // Process IDs are reused; a process ID and a start time together are unique.
  static const std::string prefix =
      std::to_string(::getpid()) + '-' +
      std::to_string(std::chrono::system_clock::now().time_since_epoch().count()) + '-';
  static unsigned count = 0;
  return prefix + std::to_string(++count);
}

}  // namespace

peer_client::peer_client() {
  store_.watch(std::string(peer_reply_node), "reply");
}

peer_reply peer_client::send(std::vector<std::string> words) {
  const peer_command command{next_id(), std::move(words)};
  const auto text = to_text(command);
  store_.write(std::string(peer_command_node), text);
  const auto end = std::chrono::steady_clock::now() + reply_timeout;
  while (std::chrono::steady_clock::now() < end) {
    const auto reply = parse_reply(store_.read(std::string(peer_reply_node)).value_or(""));
    if (reply.id == command.id) return reply;
    static_cast<void>(store_.take_event(std::chrono::milliseconds(1000)));
  }
  throw std::runtime_error("no reply from the peer to: " + text +
                           " (is `contract_tests --peer` running in domain 0?)");
}

peer_reply peer_client::succeed(peer_reply reply) {
  if (reply.error != 0)
    throw std::system_error(reply.error, std::generic_category(), "the peer failed");
  return reply;
}

void peer_case::SetUp() {
  const char* announced = std::getenv("XENPV_CONTRACT_PEER");
  if (!announced || std::string_view(announced) != "1")
    GTEST_SKIP() << "no peer in domain 0 (start `contract_tests --peer " << own_domid()
                 << "` there and set XENPV_CONTRACT_PEER=1)";
  if (in_dom0()) GTEST_SKIP() << "the peer is domain 0; run this case in a guest";
  peer_ = std::make_unique<peer_client>();
  replace_worker();
}

void peer_case::replace_worker() {
  peer_->must("exit");
  ASSERT_EQ(peer_->must("hello").number(0), dom0);
}

}  // namespace xenpv::contract
