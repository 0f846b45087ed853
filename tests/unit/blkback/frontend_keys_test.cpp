#include "blkback/frontend_keys.hpp"

#include <gtest/gtest.h>

#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkback {
namespace {

constexpr auto path = "device/vbd/51728";

disk_config config_of(backend_kind kind) {
  return usual_config(personality_of(kind), 1 << 20, 4);
}
const disk_config linux_disk = config_of(backend_kind::linux_blkback);

nodes one_queue() {
  return {{"ring-ref", "8"},
          {"event-channel", "5"},
          {"protocol", std::string(wire::blkif_protocol_native)}};
}

std::string error_of(const nodes& directory, const disk_config& disk = linux_disk) {
  const auto keys = parse_frontend_keys(directory, path, disk);
  return keys ? "" : keys.error().text;
}

TEST(frontend_keys, of_one_page_and_one_queue) {
  const auto keys = parse_frontend_keys(one_queue(), path, linux_disk).value();
  EXPECT_EQ(keys.queues, (std::vector<ring_location>{{{grant_ref{8}}, port{5}}}));
  EXPECT_FALSE(keys.persistent);
}

TEST(frontend_keys, of_several_pages_and_queues) {
  nodes all = {{"protocol", std::string(wire::blkif_protocol_native)},
               {"feature-persistent", "1"},
               {"ring-page-order", "1"},
               {"multi-queue-num-queues", "2"},
               {"queue-0/ring-ref0", "8"},
               {"queue-0/ring-ref1", "9"},
               {"queue-0/event-channel", "4"},
               {"queue-1/ring-ref0", "10"},
               {"queue-1/ring-ref1", "11"},
               {"queue-1/event-channel", "5"}};
  const auto keys = parse_frontend_keys(all, path, linux_disk).value();
  EXPECT_EQ(keys.queues, (std::vector<ring_location>{{{grant_ref{8}, grant_ref{9}}, port{4}},
                                                     {{grant_ref{10}, grant_ref{11}}, port{5}}}));
  EXPECT_TRUE(keys.persistent);
  // The other backends do not support multiple queues: they read the keys of a single queue, which
  // are absent.
  EXPECT_EQ(error_of(all, config_of(backend_kind::qemu)),
            "device/vbd/51728/ring-ref0 is absent: protocol violation");
  all.erase("queue-1/event-channel");
  EXPECT_EQ(error_of(all), "device/vbd/51728/queue-1/event-channel is absent: protocol violation");
}

TEST(frontend_keys, with_a_queue_count_of_1_need_no_queue_directory) {
  auto keys = one_queue();
  keys["multi-queue-num-queues"] = "1";
  EXPECT_EQ(error_of(keys), "");
}

TEST(frontend_keys, with_an_explicit_order_of_0_are_read_in_two_ways) {
  auto keys = one_queue();
  keys["ring-page-order"] = "0";
  EXPECT_EQ(error_of(keys), "device/vbd/51728/ring-ref0 is absent: protocol violation");
  EXPECT_EQ(error_of(keys, config_of(backend_kind::qemu)),
            "device/vbd/51728/ring-ref0 is absent: protocol violation");
  EXPECT_EQ(error_of(keys, config_of(backend_kind::tapdisk)), "");
  keys["ring-ref0"] = "9";
  keys.erase("ring-ref");
  EXPECT_EQ(error_of(keys), "");
  EXPECT_EQ(error_of(keys, config_of(backend_kind::tapdisk)),
            "device/vbd/51728/ring-ref is absent: protocol violation");
}

TEST(frontend_keys, need_a_supported_protocol) {
  auto keys = one_queue();
  keys.erase("protocol");
  EXPECT_EQ(error_of(keys),
            "device/vbd/51728/protocol is absent, which means x86_32-abi: protocol violation "
            "(only x86_64-abi is supported)");
  keys["protocol"] = "x86_32-abi";
  EXPECT_EQ(error_of(keys),
            "device/vbd/51728/protocol is 'x86_32-abi': protocol violation (only x86_64-abi is "
            "supported)");
}

TEST(frontend_keys, are_within_the_limits_of_the_backend) {
  auto keys = one_queue();
  keys["ring-page-order"] = "5";
  EXPECT_EQ(error_of(keys),
            "device/vbd/51728/ring-page-order is '5': protocol violation (expected 0 to 4)");
  keys["ring-page-order"] = "4";
  EXPECT_EQ(error_of(keys, config_of(backend_kind::tapdisk)),
            "device/vbd/51728/ring-page-order is '4': protocol violation (expected 0 to 3)");
  keys = one_queue();
  for (const auto* count : {"0", "5", "-1", "99999999999", "x", ""}) {
    keys["multi-queue-num-queues"] = count;
    EXPECT_EQ(error_of(keys), "device/vbd/51728/multi-queue-num-queues is '" + std::string(count) +
                                  "': protocol violation (expected 1 to 4)");
  }
}

TEST(frontend_keys, are_numbers) {
  auto keys = one_queue();
  keys["ring-ref"] = "8x";
  EXPECT_EQ(error_of(keys),
            "device/vbd/51728/ring-ref is '8x': protocol violation (expected a number)");
  keys["ring-ref"] = "4294967296";
  EXPECT_EQ(error_of(keys),
            "device/vbd/51728/ring-ref is '4294967296': protocol violation (expected a number)");
  keys.erase("ring-ref");
  EXPECT_EQ(error_of(keys), "device/vbd/51728/ring-ref is absent: protocol violation");
}

TEST(frontend_keys, need_feature_large_sector_size_for_qemu) {
  auto disk = config_of(backend_kind::qemu);
  disk.sector_size = 4096;
  auto keys = one_queue();
  EXPECT_EQ(error_of(keys, disk),
            "device/vbd/51728/feature-large-sector-size is not 1: protocol violation (the disk has "
            "sectors of 4096 bytes)");
  keys["feature-large-sector-size"] = "1";
  EXPECT_EQ(error_of(keys, disk), "");
  disk = linux_disk;
  disk.sector_size = 4096;
  EXPECT_EQ(error_of(one_queue(), disk), "");
}

}  // namespace
}  // namespace xenpv::blkback
