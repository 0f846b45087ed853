#include "blkfront/transport.hpp"

#include <gmock/gmock.h>

#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkfront {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

queue_transport queue(std::initializer_list<std::uint32_t> refs, std::uint32_t number) {
  queue_transport out;
  for (const auto ref : refs)
    out.ring.push_back(grant_ref{ref});
  out.event_channel = port{number};
  return out;
}

TEST(transport_nodes, of_one_queue_with_one_page) {
  const queue_transport queues[] = {queue({8}, 15)};
  EXPECT_THAT(
      transport_nodes(queues, {}),
      ElementsAre(Pair("ring-ref", "8"), Pair("event-channel", "15"),
                  Pair("protocol", wire::blkif_protocol_native), Pair("feature-persistent", "1")));
}

TEST(transport_nodes, of_one_queue_with_four_pages) {
  const queue_transport queues[] = {queue({8, 20, 9, 4294967295}, 15)};
  EXPECT_THAT(
      transport_nodes(queues, {.persistent = false}),
      ElementsAre(Pair("ring-page-order", "2"), Pair("ring-ref0", "8"), Pair("ring-ref1", "20"),
                  Pair("ring-ref2", "9"), Pair("ring-ref3", "4294967295"),
                  Pair("event-channel", "15"), Pair("protocol", wire::blkif_protocol_native),
                  Pair("feature-persistent", "0")));
}

TEST(transport_nodes, of_two_queues_with_one_page) {
  const queue_transport queues[] = {queue({8}, 4), queue({9}, 5)};
  EXPECT_THAT(
      transport_nodes(queues, {}),
      ElementsAre(Pair("multi-queue-num-queues", "2"), Pair("queue-0/ring-ref", "8"),
                  Pair("queue-0/event-channel", "4"), Pair("queue-1/ring-ref", "9"),
                  Pair("queue-1/event-channel", "5"), Pair("protocol", wire::blkif_protocol_native),
                  Pair("feature-persistent", "1")));
}

TEST(transport_nodes, of_two_queues_with_two_pages) {
  const queue_transport queues[] = {queue({8, 9}, 4), queue({10, 11}, 5)};
  EXPECT_THAT(
      transport_nodes(queues, {}),
      ElementsAre(Pair("ring-page-order", "1"), Pair("multi-queue-num-queues", "2"),
                  Pair("queue-0/ring-ref0", "8"), Pair("queue-0/ring-ref1", "9"),
                  Pair("queue-0/event-channel", "4"), Pair("queue-1/ring-ref0", "10"),
                  Pair("queue-1/ring-ref1", "11"), Pair("queue-1/event-channel", "5"),
                  Pair("protocol", wire::blkif_protocol_native), Pair("feature-persistent", "1")));
}

TEST(transport_nodes, announce_large_sectors_only_on_request) {
  const queue_transport queues[] = {queue({8}, 15)};
  EXPECT_THAT(transport_nodes(queues, {.large_sectors = true}),
              ElementsAre(Pair("ring-ref", "8"), Pair("event-channel", "15"),
                          Pair("protocol", wire::blkif_protocol_native),
                          Pair("feature-persistent", "1"), Pair("feature-large-sector-size", "1")));
}

TEST(is_transport_node, matches_nodes_that_any_frontend_may_have_left) {
  for (const auto* const name :
       {"ring-ref", "ring-ref0", "ring-ref15", "ring-page-order", "num-ring-pages", "event-channel",
        "multi-queue-num-queues", "queue-0", "queue-63", "protocol", "feature-persistent",
        "feature-large-sector-size"})
    EXPECT_TRUE(is_transport_node(name)) << name;
}

TEST(is_transport_node, does_not_match_the_toolstacks_nodes) {
  for (const auto* const name : {"backend", "backend-id", "state", "virtual-device", "device-type",
                                 "trusted", "queue", "event-channels", "feature", ""})
    EXPECT_FALSE(is_transport_node(name)) << name;
}

}  // namespace
}  // namespace xenpv::blkfront
