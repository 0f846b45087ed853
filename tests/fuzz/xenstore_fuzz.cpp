// A guest that sends arbitrary bytes to the simulated xenstored: the guest receives only complete
// messages, stays within its quotas and never reads a node that only domain 0 may read.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "sim/store_service.hpp"
#include "wire/xs.hpp"

namespace {

using namespace xenpv;

constexpr std::string_view secret = "only domain 0 may read this";

void require(bool holds) {
  if (!holds) std::abort();
}

void require_whole_messages(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    wire::xs_message_header header{};
    require(bytes.size() >= sizeof header);
    std::memcpy(&header, bytes.data(), sizeof header);
    require(wire::to_string(header.type) != "unknown");
    require(header.len <= wire::xs_payload_max);
    require(bytes.size() - sizeof header >= header.len);
    bytes = bytes.subspan(sizeof header + header.len);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.find(secret) != std::string_view::npos) return 0;

  const domid guest{1};
  const sim::store_quota quota{.nodes = 20, .watches = 5, .transactions = 3};
  sim::store_service store(quota);
  store.introduce(guest);
  const sim::store_permission closed[] = {{domid_0}};
  store.write("/secret", secret);
  store.set_permissions("/secret", closed);
  const sim::store_permission own[] = {{guest}};
  store.write("/local/domain/1", "");
  store.set_permissions("/local/domain/1", own);

  const auto id = store.attach(guest);
  // Send the input in two parts, so that messages can be split at any position.
  const auto half = input.size() / 2;
  const bool good = store.receive(id, input.first(half)) && store.receive(id, input.subspan(half));
  const auto output = store.take_output(id);
  require_whole_messages(output);
  const std::string_view sent(reinterpret_cast<const char*>(output.data()), output.size());
  require(sent.find(secret) == std::string_view::npos);
  require(store.read("/secret") == secret);
  require(store.node_count(guest) <= quota.nodes);
  require(store.watch_count(guest) <= quota.watches);
  if (good) store.resume(guest, domid{2});
  store.detach(id);
  require(store.watch_count(domid{2}) == 0);
  require(store.connection_count() == 0);
  return 0;
}
