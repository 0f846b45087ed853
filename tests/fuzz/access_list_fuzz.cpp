// Access lists: parsing terminates for any text, an accepted list decides for any client, and the
// decision by address bounds every other decision. The first bytes are the client, the rest is the
// file.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/utf8.hpp"
#include "xenpv/nbd/access_list.hpp"

namespace {

using namespace xenpv::nbd;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t head = 18;
  if (size < head) return 0;
  peer_address peer;
  peer.kind = static_cast<peer_address::family>(data[0] % 5);
  std::copy_n(data + 2, 16, peer.bytes.begin());
  peer.number = data[2];
  const std::string_view text(reinterpret_cast<const char*>(data) + head, size - head);
  tls_identity identity;
  identity.kind = static_cast<tls_identity::proof>(data[1] % 3);
  // A name from the text itself, which may also be in a rule.
  identity.name = text.substr(0, text.find(' '));

  const auto list = access_list::parse(text, "f");
  if (!list) {
    require(list.error().text.starts_with("f"));
    require(xenpv::printable(list.error().text) == list.error().text);
    return 0;
  }
  const auto decision = list->decide(peer, identity);
  require(decision <= list->decide_address(peer));
  require(list->decide_address(peer) <= list->most());
  require(list->decide(peer, {}) == access::none || !list->requires_identity());
  const auto shown = to_string(identity);
  require(xenpv::printable(shown) == shown);
  return 0;
}
