// Notices that a domain receives when the other domain releases a granted page: a cleared byte, an
// event, or both.
#include <gtest/gtest.h>

#include <cerrno>

#include "contract/grants.hpp"
#include "contract/peer/client.hpp"

namespace xenpv::contract {
namespace {

constexpr std::uint32_t status_offset = 64;
constexpr unsigned char alive = 1;

class peer_notice : public peer_case {
 protected:
  /// Creates a channel whose remote end the peer binds.
  void connect() {
    here_ = events_.bind_unbound(dom0);
    there_ = peer().must("bind", here_).number(0);
    ASSERT_EQ(peer().must("take", there_, long_enough).number(0), 1U);
    peer().must("unmask", there_);
  }

  event_handle events_;
  std::uint32_t here_ = 0;
  std::uint32_t there_ = 0;
  sharer sharer_ = open_sharer();
};

TEST_F(peer_notice, clears_the_byte_when_the_peer_unmaps) {
  const shared_pages page(sharer_, dom0, 1);
  page.bytes()[status_offset] = alive;
  page.bytes()[status_offset + 1] = alive;
  const auto id = peer().must("map-notify", page.refs()[0], status_offset, "-").words.at(0);
  EXPECT_EQ(page.bytes()[status_offset], alive) << "not cleared before the unmap";
  peer().must("unmap", id);
  EXPECT_TRUE(comes_true([&] { return page.bytes()[status_offset] == 0; }));
  EXPECT_EQ(page.bytes()[status_offset + 1], alive) << "must not clear other bytes";
}

TEST_F(peer_notice, sends_the_event_when_the_peer_unmaps) {
  connect();
  const shared_pages page(sharer_, dom0, 1);
  const auto id = peer().must("map-notify", page.refs()[0], "-", there_).words.at(0);
  EXPECT_TRUE(events_.stays_quiet());
  peer().must("unmap", id);
  EXPECT_EQ(events_.take(), here_);
}

TEST_F(peer_notice, clears_the_byte_and_sends_the_event_when_the_peer_dies) {
  connect();
  const shared_pages page(sharer_, dom0, 1);
  page.bytes()[status_offset] = alive;
  peer().must("map-notify", page.refs()[0], status_offset, there_);
  replace_worker();
  EXPECT_EQ(events_.take(), here_);
  EXPECT_TRUE(comes_true([&] { return page.bytes()[status_offset] == 0; }));
}

TEST_F(peer_notice, is_rejected_for_a_port_that_the_peer_has_not_bound) {
  const shared_pages page(sharer_, dom0, 1);
  const auto port = peer().must("unbound").number(0);
  peer().must("unbind", port);
  EXPECT_EQ(peer().ask("map-notify", page.refs()[0], "-", port).error, EINVAL);
}

TEST_F(peer_notice, notifies_the_peer_on_unshare) {
  connect();
  auto page = shared_pages::with_notice(sharer_, dom0, status_offset, here_);
  ASSERT_TRUE(page);
  page.bytes()[status_offset] = alive;
  const auto id = peer().must("map", "ro", page.refs()[0]).words.at(0);
  EXPECT_EQ(peer().must("read", id, status_offset, 1U).words.at(0), "01");
  ASSERT_EQ(page.unshare(), succeeded);
  EXPECT_EQ(peer().must("take", there_, long_enough).number(0), 1U);
  EXPECT_EQ(peer().must("read", id, status_offset, 1U).words.at(0), "00");
}

TEST_F(peer_notice, notifies_the_guest_when_the_sharing_peer_dies) {
  connect();
  const auto reply = peer().must("share-notify", status_offset, there_);
  const auto mapper = open_mapper();
  const mapped_pages page(mapper, dom0, {reply.number(1)});
  ASSERT_TRUE(page);
  page.bytes()[status_offset] = alive;
  replace_worker();
  EXPECT_EQ(events_.take(), here_);
  EXPECT_EQ(page.bytes()[status_offset], 0);
}

}  // namespace
}  // namespace xenpv::contract
