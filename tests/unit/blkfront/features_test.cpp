// The frontend's parsers for the nodes that backends publish.
#include "blkfront/features.hpp"

#include <gmock/gmock.h>

namespace xenpv::blkfront {
namespace {

node_map with(node_map nodes, std::initializer_list<node_map::value_type> more) {
  for (const auto& [name, value] : more)
    nodes[name] = value;
  return nodes;
}

/// Captured from blkback on a virtio disk (in xenstore-ls order).
const node_map blkback = {{"frontend", "/local/domain/3/device/vbd/51728"},
                          {"online", "1"},
                          {"removable", "0"},
                          {"mode", "w"},
                          {"hotplug-status", "connected"},
                          {"max-ring-page-order", "4"},
                          {"multi-queue-max-queues", "2"},
                          {"feature-max-indirect-segments", "256"},
                          {"feature-persistent", "1"},
                          {"feature-flush-cache", "1"},
                          {"feature-barrier", "1"},
                          {"feature-discard", "0"},
                          {"sectors", "524288"},
                          {"info", "0"},
                          {"sector-size", "512"},
                          {"physical-sector-size", "4096"}};

/// QEMU's xen-block on a file.
const node_map qdisk = {{"online", "1"},
                        {"mode", "w"},
                        {"max-ring-page-order", "4"},
                        {"feature-flush-cache", "1"},
                        {"feature-discard", "1"},
                        {"discard-granularity", "512"},
                        {"discard-alignment", "0"},
                        {"sectors", "2048"},
                        {"info", "0"},
                        {"sector-size", "512"}};

const node_map tapdisk = {
    {"online", "1"},     {"mode", "w"}, {"max-ring-page-order", "3"}, {"feature-barrier", "1"},
    {"sectors", "2048"}, {"info", "0"}, {"sector-size", "512"}};

const node_map freebsd = {{"online", "1"},
                          {"mode", "w"},
                          {"max-ring-page-order", "5"},
                          {"max-ring-pages", "32"},
                          {"feature-flush-cache", "1"},
                          {"feature-barrier", "1"},
                          {"sectors", "2048"},
                          {"info", "0"},
                          {"sector-size", "512"}};

const node_map small = {{"sectors", "2048"}};

backend_properties properties(const node_map& nodes, std::string_view kind = "vbd",
                              std::string_view type = "disk", unsigned queues = 1) {
  return parse_properties(nodes, kind, type, queues).value();
}
blk::geometry shape(const node_map& nodes) {
  return properties(nodes).shape;
}
std::string problem(const node_map& nodes, std::string_view kind = "vbd") {
  const auto parsed = parse_properties(nodes, kind, "disk", 1);
  if (parsed) return "none";
  EXPECT_EQ(parsed.error().code, errc::protocol_violation);
  return parsed.error().text;
}
std::string offer_problem(const node_map& nodes) {
  const auto parsed = parse_offer(nodes);
  if (parsed) return "none";
  EXPECT_EQ(parsed.error().code, errc::protocol_violation);
  return parsed.error().text;
}

TEST(backend_offer, of_the_four_backends) {
  EXPECT_EQ(parse_offer(blkback).value(), (backend_offer{4, 2, 256}));
  EXPECT_EQ(parse_offer(qdisk).value(), (backend_offer{4, 1, 0}));
  EXPECT_EQ(parse_offer(tapdisk).value(), (backend_offer{3, 1, 0}));
  EXPECT_EQ(parse_offer(freebsd).value(), (backend_offer{4, 1, 0}));
}

TEST(backend_offer, of_a_backend_without_nodes) {
  EXPECT_EQ(parse_offer({}).value(), (backend_offer{0, 1, 0}));
}

TEST(backend_offer, takes_the_order_from_a_number_of_pages) {
  const std::pair<const char*, unsigned> cases[] = {
      {"0", 0},  {"1", 0},  {"2", 1},
      {"3", 1},  {"4", 2},  {"8", 3},
      {"16", 4}, {"32", 4}, {"18446744073709551615", 4}};
  for (const auto& [pages, order] : cases)
    EXPECT_EQ(parse_offer({{"max-ring-pages", pages}}).value().max_ring_page_order, order) << pages;
  const node_map both = {{"max-ring-pages", "32"}, {"max-ring-page-order", "1"}};
  EXPECT_EQ(parse_offer(both).value().max_ring_page_order, 1u);
}

TEST(backend_offer, is_capped_at_the_limits_of_the_protocol) {
  const char* const huge = "18446744073709551615";
  const node_map most = {{"max-ring-page-order", huge},
                         {"multi-queue-max-queues", huge},
                         {"feature-max-indirect-segments", huge}};
  EXPECT_EQ(parse_offer(most).value(), (backend_offer{4, 64, 4096}));
  EXPECT_EQ(parse_offer({{"multi-queue-max-queues", "0"}}).value().max_queues, 1u);
}

TEST(backend_offer, names_a_malformed_node) {
  EXPECT_EQ(offer_problem({{"max-ring-page-order", "-1"}}),
            "backend node max-ring-page-order '-1': protocol violation (expected a whole number, 0 "
            "or more)");
  EXPECT_EQ(offer_problem({{"multi-queue-max-queues", "two"}}),
            "backend node multi-queue-max-queues 'two': protocol violation (expected a whole "
            "number, 0 or more)");
  EXPECT_EQ(offer_problem({{"feature-max-indirect-segments", ""}}),
            "backend node feature-max-indirect-segments '': protocol violation (expected a whole "
            "number, 0 or more)");
  EXPECT_EQ(offer_problem({{"max-ring-pages", "18446744073709551616"}}),
            "backend node max-ring-pages '18446744073709551616': protocol violation (expected a "
            "whole number, 0 or more)");
  EXPECT_EQ(offer_problem({{"max-ring-page-order", "0x4"}}),
            "backend node max-ring-page-order '0x4': protocol violation (expected a whole number, "
            "0 or more)");
}

TEST(backend_properties, of_blkback) {
  const auto disk = properties(blkback, "vbd", "disk", 2);
  backend_properties expected;
  expected.shape.size = 256U << 20;
  expected.shape.physical_sector_size = 4096;
  expected.shape.can_flush = true;
  expected.flush_cache = expected.barrier = expected.persistent = true;
  EXPECT_EQ(disk, expected);
}

TEST(backend_properties, of_blkback_on_a_ram_disk_without_flush_and_barrier) {
  const auto disk =
      properties(with(blkback, {{"feature-flush-cache", "0"}, {"feature-barrier", "0"}}));
  EXPECT_FALSE(disk.shape.can_flush);
  EXPECT_FALSE(disk.flush_cache);
  EXPECT_FALSE(disk.barrier);
}

TEST(backend_properties, of_qemu) {
  const auto disk = properties(qdisk, "qdisk");
  backend_properties expected;
  expected.shape.size = 1U << 20;
  expected.shape.can_flush = true;
  expected.shape.can_discard = true;
  expected.shape.discard_granularity = 512;
  expected.flush_cache = true;
  EXPECT_EQ(disk, expected);
}

TEST(backend_properties, of_tapdisk_and_freebsd) {
  const auto tap = properties(tapdisk);
  EXPECT_TRUE(tap.shape.can_flush) << "through its barrier";
  EXPECT_FALSE(tap.flush_cache);
  EXPECT_FALSE(tap.persistent);
  const auto bsd = properties(freebsd);
  EXPECT_TRUE(bsd.flush_cache);
  EXPECT_FALSE(bsd.shape.can_discard);
  EXPECT_EQ(bsd.shape.size, 1U << 20);
}

TEST(backend_properties, a_barrier_flushes_one_queue_only) {
  EXPECT_TRUE(can_flush(true, false, 1));
  EXPECT_TRUE(can_flush(true, true, 4));
  EXPECT_TRUE(can_flush(false, true, 1));
  EXPECT_FALSE(can_flush(false, true, 2));
  EXPECT_FALSE(can_flush(false, false, 1));
  EXPECT_FALSE(properties(tapdisk, "vbd", "disk", 2).shape.can_flush);
}

TEST(backend_properties, large_sectors_are_counted_in_the_unit_of_the_backend) {
  const node_map large = {{"sectors", "2048"}, {"sector-size", "4096"}};
  const auto linux_properties = properties(with(large, {{"physical-sector-size", "4096"}}));
  EXPECT_EQ(linux_properties.unit, 512u);
  EXPECT_EQ(linux_properties.shape.size, 1U << 20);
  EXPECT_EQ(linux_properties.shape.sector_size, 4096u);
  const auto qemu_properties = properties(large, "qdisk");
  EXPECT_EQ(qemu_properties.unit, 4096u);
  EXPECT_EQ(qemu_properties.shape.size, 8U << 20);
  EXPECT_EQ(qemu_properties.shape.physical_sector_size, 4096u);
  EXPECT_EQ(problem(large),
            "backend node sector-size '4096': protocol violation (this backend does not publish "
            "its sector unit, so any access could use the wrong sectors; configure 512-byte "
            "sectors, or use Linux blkback or QEMU)");
}

TEST(backend_properties, a_partial_last_sector_does_not_count) {
  const auto disk =
      properties({{"sectors", "15"}, {"sector-size", "4096"}, {"physical-sector-size", "4096"}});
  EXPECT_EQ(disk.shape.size, 4096u);
}

TEST(backend_properties, refuses_impossible_sector_sizes) {
  EXPECT_EQ(problem(with(small, {{"sector-size", "0"}})),
            "backend node sector-size '0': protocol violation (expected 512, 1024, 2048 or 4096)");
  EXPECT_EQ(
      problem(with(small, {{"sector-size", "520"}})),
      "backend node sector-size '520': protocol violation (expected 512, 1024, 2048 or 4096)");
  EXPECT_EQ(
      problem(with(small, {{"sector-size", "8192"}})),
      "backend node sector-size '8192': protocol violation (expected 512, 1024, 2048 or 4096)");
  EXPECT_EQ(problem(with(small, {{"physical-sector-size", "256"}})),
            "backend node physical-sector-size '256': protocol violation (expected a power of two "
            "of at least the sector size)");
  EXPECT_EQ(problem(with(small, {{"physical-sector-size", "4294967296"}})),
            "backend node physical-sector-size '4294967296': protocol violation (expected a power "
            "of two of at least the sector size)");
}

TEST(backend_properties, refuses_impossible_sizes) {
  EXPECT_EQ(problem({}),
            "backend node sectors: protocol violation (missing; a connected backend must publish "
            "the disk size)");
  EXPECT_EQ(
      problem({{"sectors", "18014398509481984"}}),
      "backend node sectors '18014398509481984': protocol violation (the size exceeds 2^63 - 1 "
      "bytes)");
  EXPECT_EQ(shape({{"sectors", "18014398509481983"}}).size, 9223372036854775296u);
  EXPECT_EQ(
      problem({{"sectors", "2048K"}}),
      "backend node sectors '2048K': protocol violation (expected a whole number, 0 or more)");
  EXPECT_EQ(
      problem(with(small, {{"info", "readonly"}})),
      "backend node info 'readonly': protocol violation (expected a whole number, 0 or more)");
  EXPECT_EQ(problem(with(small, {{"feature-persistent", " 1"}})),
            "backend node feature-persistent ' 1': protocol violation (expected a whole number, 0 "
            "or more)");
}

TEST(backend_properties, an_empty_drive_has_no_bytes) {
  EXPECT_EQ(shape({{"sectors", "0"}}).size, 0u);
}

TEST(backend_properties, reads_the_bits_of_info) {
  const auto cdrom = shape(with(small, {{"info", "1"}}));
  EXPECT_TRUE(cdrom.cdrom);
  EXPECT_TRUE(cdrom.read_only);
  EXPECT_FALSE(cdrom.removable);
  const auto removable = shape(with(small, {{"info", "2"}}));
  EXPECT_TRUE(removable.removable);
  EXPECT_FALSE(removable.read_only);
  const auto read_only = shape(with(small, {{"info", "4"}}));
  EXPECT_TRUE(read_only.read_only);
  EXPECT_FALSE(read_only.cdrom);
  EXPECT_FALSE(shape(with(small, {{"info", "4"}, {"feature-flush-cache", "1"}})).can_flush)
      << "there is nothing to flush, and blkback refuses flushes as it refuses writes";
  const auto others = shape(with(small, {{"info", "248"}}));
  EXPECT_FALSE(others.cdrom || others.removable || others.read_only);
}

TEST(backend_properties, a_cdrom_is_also_detected_by_its_device_type) {
  const auto drive = properties(small, "vbd", "cdrom").shape;
  EXPECT_TRUE(drive.cdrom);
  EXPECT_TRUE(drive.read_only);
  EXPECT_TRUE(shape(with(small, {{"removable", "1"}})).removable);
}

TEST(backend_properties, is_writable_if_mode_contains_a_w) {
  EXPECT_FALSE(shape(small).read_only);
  EXPECT_FALSE(shape(with(small, {{"mode", "w"}})).read_only);
  EXPECT_FALSE(shape(with(small, {{"mode", "w!"}})).read_only);
  EXPECT_FALSE(shape(with(small, {{"mode", "rw"}})).read_only);
  EXPECT_TRUE(shape(with(small, {{"mode", "r"}})).read_only);
  EXPECT_TRUE(shape(with(small, {{"mode", ""}})).read_only);
}

TEST(backend_properties, reads_the_discard_parameters) {
  const auto enabled = with(small, {{"feature-discard", "1"}});
  EXPECT_EQ(shape(enabled).discard_granularity, 512u);
  EXPECT_FALSE(shape(enabled).can_secure_discard);
  const auto grid = shape(with(
      enabled,
      {{"discard-granularity", "4096"}, {"discard-alignment", "9728"}, {"discard-secure", "1"}}));
  EXPECT_EQ(grid.discard_granularity, 4096u);
  EXPECT_EQ(grid.discard_alignment, 1536u);
  EXPECT_TRUE(grid.can_secure_discard);
  const auto disabled = shape(with(
      small, {{"feature-discard", "0"}, {"discard-secure", "1"}, {"discard-granularity", "4096"}}));
  EXPECT_FALSE(disabled.can_discard || disabled.can_secure_discard);
  EXPECT_EQ(disabled.discard_granularity, 0u);
}

TEST(backend_properties, discard_granules_not_aligned_to_sectors_are_ignored) {
  const auto enabled = with(small, {{"feature-discard", "1"}});
  for (const auto& [granularity, alignment] :
       {std::pair{"0", "0"}, {"1000", "0"}, {"4096", "100"}, {"18446744073709551615", "0"}}) {
    const auto grid = shape(
        with(enabled, {{"discard-granularity", granularity}, {"discard-alignment", alignment}}));
    EXPECT_EQ(grid.discard_granularity, 512u) << granularity;
    EXPECT_EQ(grid.discard_alignment, 0u) << alignment;
  }
}

TEST(backend_kind, is_the_directory_below_backend) {
  EXPECT_EQ(backend_kind("/local/domain/0/backend/vbd/3/51728"), "vbd");
  EXPECT_EQ(backend_kind("/local/domain/0/backend/qdisk/3/51728"), "qdisk");
  EXPECT_EQ(backend_kind("backend/vbd/3/51728"), "");
  EXPECT_EQ(backend_kind("/local/domain/0/backend/"), "");
  EXPECT_EQ(backend_kind(""), "");
}

TEST(backend_nodes, include_all_nodes_that_are_read) {
  using ::testing::Contains;
  for (const auto& nodes : {blkback, qdisk, tapdisk, freebsd}) {
    for (const auto& [name, value] : nodes) {
      if (name == "frontend") continue;
      EXPECT_THAT(backend_nodes(), Contains(std::string_view(name))) << value;
    }
  }
}

}  // namespace
}  // namespace xenpv::blkfront
