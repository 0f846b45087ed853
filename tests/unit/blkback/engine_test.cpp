// The requests that the backend engine executes or refuses. The tests drive the frontend by hand.
#include "blkback/engine.hpp"

#include <gmock/gmock.h>

#include "unit/blkback/engine_rig.hpp"

namespace xenpv::blkback::test {
namespace {

using ::testing::ElementsAre;
using enum blkif_status;
using rig = engine_rig;

constexpr auto b = first_ref + 1;

class every_backend : public ::testing::TestWithParam<std::size_t> {
 protected:
  disk_config config = usual(wire::backend_kinds[GetParam()].value);
  const blkback::personality& personality = config.personality();
};
INSTANTIATE_TEST_SUITE_P(, every_backend,
                         ::testing::Range(std::size_t{0}, wire::backend_kinds.size()),
                         [](const auto& instance) {
                           return std::string(wire::backend_kinds[instance.param].name);
                         });

TEST_P(every_backend, reads_back_what_was_written) {
  rig r(config);
  r.fill(a, 0x5A);
  const auto written = r.answer_to(rig::transfer(blkif_op::write, 7, 8, {{a, 1, 3, 0}}));
  EXPECT_EQ(written.id, 7u);
  EXPECT_EQ(written.operation, 1);
  EXPECT_EQ(written.status, 0);
  const auto read = r.answer_to(rig::transfer(blkif_op::read, 8, 7, {{b, 2, 5, 0}}));
  EXPECT_EQ(read.id, 8u);
  EXPECT_EQ(read.operation, 0);
  EXPECT_EQ(r.byte_of(b, 2 * 512), 0);
  EXPECT_EQ(r.byte_of(b, 3 * 512), 0x5A);
  EXPECT_EQ(r.byte_of(b, 6 * 512 - 1), 0x5A);
  EXPECT_EQ(r.byte_of(b, 6 * 512), 0);
  EXPECT_EQ(r.pages.mappings(), 0u);
}

TEST_P(every_backend, refuses_bad_segments) {
  rig r(config);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 1, 0, {{a, 3, 2, 0}})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 2, 0, {{a, 0, 8, 0}})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 3, 0, {page(a), {b, 8, 8, 0}})), error);
  auto twelve = rig::transfer(blkif_op::read, 4, 0, std::vector(11, page(a)));
  twelve.nr_segments = 12;
  EXPECT_EQ(r.status_of(twelve), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 5, 0, {page(99)})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 6, 0, {page(a)})), okay);
}

TEST_P(every_backend, refuses_requests_outside_the_disk) {
  rig r(config);
  const auto last = disk_size / 512 - 8;
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 1, last, {page(a)})), okay);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 2, last + 1, {page(a)})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 3, ~0ULL, {page(a)})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 4, ~0ULL / 512 + 1, {page(a)})), error);
  r.backend->set_size(disk_size / 2);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 5, last, {page(a)})), error);
}

TEST_P(every_backend, refuses_writes_to_a_read_only_disk) {
  config.read_only = true;
  rig r(config);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 1, 0, {page(a)})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 2, 0, {page(a)})), okay);
}

TEST_P(every_backend, allows_an_empty_read_only_where_qemu_does) {
  rig r(config);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 1, 0, {})),
            personality.allows_empty ? okay : error);
}

TEST_P(every_backend, refuses_unknown_operations_with_its_own_status) {
  rig r(config);
  auto request = rig::transfer(blkif_op::read, 9, 0, {});
  request.operation = 4;
  const auto answer = r.answer_to(request);
  EXPECT_EQ(answer.id, 9u);
  EXPECT_EQ(answer.operation, 4);
  EXPECT_EQ(static_cast<blkif_status>(answer.status),
            personality.unknown_is_error ? error : eopnotsupp);
}

TEST_P(every_backend, supports_flushes_and_barriers_as_it_offers) {
  rig r(config);
  const auto flush = r.status_of(rig::transfer(blkif_op::flush_diskcache, 1, 0, {}));
  const auto barrier = r.status_of(rig::transfer(blkif_op::write_barrier, 2, 0, {page(a)}));
  const auto refused = personality.unknown_is_error ? error : eopnotsupp;
  EXPECT_EQ(flush, personality.flush ? okay : eopnotsupp);
  EXPECT_EQ(barrier, personality.barrier ? okay : refused);
}

TEST_P(every_backend, discards_only_if_it_offers_discard) {
  rig r(config);
  r.fill(a, 0x11);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 1, 0, {page(a)})), okay);
  const auto discarded = r.status_of(rig::discard(2, 0, 8));
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 3, 0, {page(a)})), okay);
  EXPECT_EQ(r.byte_of(a), personality.discard ? 0 : 0x11);
  EXPECT_EQ(discarded, personality.discard            ? okay
                       : personality.unknown_is_error ? error
                                                      : eopnotsupp);
}

TEST_P(every_backend, moves_data_of_a_4096_byte_sector_disk_in_its_own_units) {
  config.sector_size = 4096;
  rig r(config);
  r.fill(a, 0x44);
  const bool scaled = personality.ring_fields == sector_unit::sector_size;
  const wire::blkif_segment whole{a, 0, static_cast<std::uint8_t>(scaled ? 0 : 7), 0};
  const auto second = scaled ? 1u : 8u;
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 1, second, {whole})), okay);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[4095]), 0);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[4096]), 0x44);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[8191]), 0x44);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[8192]), 0);
}

TEST(engine, refuses_parts_of_large_sectors) {
  auto config = usual(backend_kind::linux_blkback);
  config.sector_size = 4096;
  rig r(config);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 1, 4, {page(a)})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 2, 8, {{a, 0, 3, 0}})), error);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 3, 8, {page(a)})), okay);
  EXPECT_EQ(r.status_of(rig::discard(4, 4, 8)), error);
  EXPECT_EQ(r.status_of(rig::discard(5, 8, 8)), okay);
}

TEST(engine, refuses_discards_outside_the_disk_and_secure_ones_it_did_not_offer) {
  rig r;
  EXPECT_EQ(r.status_of(rig::discard(1, disk_size / 512 - 1, 2)), error);
  EXPECT_EQ(r.status_of(rig::discard(2, 1, ~0ULL)), error);
  EXPECT_EQ(r.status_of(rig::discard(3, 0, 1, wire::blkif_discard_secure)), eopnotsupp);
}

TEST(engine, responds_to_an_indirect_request_with_the_inner_operation) {
  rig r;
  std::vector<wire::blkif_segment> segments;
  for (std::uint32_t i = 0; i < 200; ++i) {
    r.fill(a + i, static_cast<int>(i));
    segments.push_back(page(a + i));
  }
  const auto table = a + 300;
  const auto written = r.answer_to(r.indirect(blkif_op::write, 5, 0, segments, table));
  EXPECT_EQ(written.operation, 1);
  EXPECT_EQ(written.status, 0);
  for (std::uint32_t i = 0; i < 200; ++i)
    r.fill(a + i, 0xFF);
  const auto read = r.answer_to(r.indirect(blkif_op::read, 6, 0, segments, table));
  EXPECT_EQ(read.operation, 0);
  EXPECT_EQ(read.status, 0);
  EXPECT_EQ(r.byte_of(a + 199), 199);
  EXPECT_EQ(r.backend->statistics().segments, 400u);
}

TEST(engine, refuses_bad_indirect_requests) {
  rig r;
  const auto table = a + 300;
  auto request = r.indirect(blkif_op::flush_diskcache, 1, 0, {page(a)}, table);
  EXPECT_EQ(r.status_of(request), error);
  request = r.indirect(blkif_op::read, 2, 0, std::vector(256, page(a)), table);
  request.sector_number = ~0ULL;
  EXPECT_EQ(r.status_of(request), error);
  request.nr_segments = 257;
  request.sector_number = 0;
  EXPECT_EQ(r.status_of(request), error);
  request.nr_segments = 0;
  EXPECT_EQ(r.status_of(request), error);
  request.nr_segments = 1;
  request.indirect_grefs[0] = 5;
  EXPECT_EQ(r.status_of(request), error);
  rig other(usual(backend_kind::tapdisk));
  request = other.indirect(blkif_op::read, 3, 0, {page(a)}, table);
  EXPECT_EQ(other.status_of(request), eopnotsupp);
}

TEST(engine, keeps_persistent_grants_mapped_and_writable) {
  rig r(usual(backend_kind::linux_blkback), true);
  for (int round = 0; round < 3; ++round)
    EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 1, 0, {page(a), page(b)})), okay);
  EXPECT_EQ(r.pages.map_calls(), 1u);
  EXPECT_TRUE(r.pages.mapped_writable());
  EXPECT_EQ(r.backend->persistent_grants(), 2u);
  r.backend.reset();
  EXPECT_EQ(r.pages.mappings(), 0u);
}

TEST(engine, needs_indirect_pages_granted_writable_once_grants_are_persistent) {
  const auto table = a + 300;
  for (const bool persistent : {false, true}) {
    rig r(usual(backend_kind::linux_blkback), persistent);
    r.pages.set_read_only(table);
    EXPECT_EQ(r.status_of(r.indirect(blkif_op::read, 1, 0, {page(a)}, table)),
              persistent ? error : okay);
  }
}

TEST(engine, writes_from_a_page_granted_read_only_unless_grants_are_persistent) {
  for (const bool persistent : {false, true}) {
    rig r(usual(backend_kind::linux_blkback), persistent);
    r.pages.set_read_only(a);
    EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, 1, 0, {page(a)})),
              persistent ? error : okay);
    EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 2, 0, {page(a)})), error);
  }
}

TEST(engine, maps_grants_beyond_the_persistent_limit_for_one_request) {
  auto config = usual(backend_kind::linux_blkback);
  config.max_indirect_segments = 512;
  rig r(config, true);
  // Grants beyond the limit do not stay mapped: each is mapped only for its request.
  r.page_memory.resize(0);
  std::vector<std::byte> many(1200 * page_size);
  r.pages = page_array(many, first_ref);
  for (std::uint32_t i = 0; i < 1100; ++i)
    ASSERT_EQ(r.status_of(rig::transfer(blkif_op::read, i, 0, {page(a + i)})), okay);
  EXPECT_EQ(r.backend->persistent_grants(), grant_cache::capacity);
  EXPECT_EQ(r.pages.mappings(), grant_cache::capacity);
  r.backend.reset();
}

TEST(engine, counts_a_grant_that_is_in_flight_twice) {
  rig r(usual(backend_kind::linux_blkback), true);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 1, 0, {page(a), page(a)})), okay);
  EXPECT_EQ(r.backend->statistics().grants_used_twice, 1u);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 2, 0, {page(a)})), okay);
  EXPECT_EQ(r.backend->statistics().grants_used_twice, 1u);
}

TEST(engine, publishes_a_batch_once_with_one_event) {
  rig r;
  for (std::uint64_t id = 0; id < 20; ++id)
    r.front.put(rig::transfer(blkif_op::read, id, 0, {page(a)}));
  EXPECT_TRUE(r.front.publish());
  const auto first = r.backend->run();
  EXPECT_TRUE(first.notify);
  EXPECT_FALSE(first.more);
  EXPECT_EQ(r.responses().size(), 20u);
  EXPECT_EQ(r.backend->statistics().batches, 1u);
  EXPECT_EQ(r.backend->statistics().events_due, 1u);
  // The frontend did not request another event.
  r.put(rig::transfer(blkif_op::read, 1, 0, {page(a)}));
  EXPECT_FALSE(r.backend->run().notify);
  // Now it requests an event after two more responses.
  (void)r.responses();
  EXPECT_TRUE(r.front.arm(2));
  r.put(rig::transfer(blkif_op::read, 1, 0, {page(a)}));
  EXPECT_FALSE(r.backend->run().notify);
  r.put(rig::transfer(blkif_op::read, 2, 0, {page(a)}));
  EXPECT_TRUE(r.backend->run().notify);
}

TEST(engine, stops_at_its_budget_and_reports_more) {
  rig r;
  for (std::uint64_t id = 0; id < 5; ++id)
    r.put(rig::transfer(blkif_op::read, id, 0, {page(a)}));
  EXPECT_TRUE(r.backend->run(3).more);
  EXPECT_EQ(r.responses().size(), 3u);
  EXPECT_FALSE(r.backend->run(3).more);
  EXPECT_EQ(r.responses().size(), 2u);
}

TEST(engine, wraps_a_ring_of_16_pages_many_times) {
  rig r(usual(backend_kind::linux_blkback), true, nullptr, 4);
  std::uint64_t id = 0;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 300; ++i)
      r.front.put(rig::transfer(blkif_op::read, id++, 0, {page(a + 2)}));
    (void)r.front.publish();
    (void)r.backend->run();
    ASSERT_EQ(r.responses().size(), 300u);
  }
  EXPECT_EQ(r.backend->statistics().requests[0], 3000u);
}

TEST(engine, halts_at_a_ring_that_claims_more_than_it_holds) {
  rig r;
  auto* header = reinterpret_cast<ring::ring_header*>(r.ring_memory.data());
  header->req_prod = 33;
  EXPECT_FALSE(r.backend->run().notify);
  EXPECT_TRUE(r.backend->halted());
  header->req_prod = 1;
  (void)r.backend->run();
  EXPECT_TRUE(r.responses().empty());
}

TEST(engine, attaches_at_the_published_responses_only_as_blkback) {
  for (const auto kind : {backend_kind::linux_blkback, backend_kind::qemu}) {
    rig r(usual(kind));
    auto* header = reinterpret_cast<ring::ring_header*>(r.ring_memory.data());
    header->req_prod = header->rsp_prod = 5;
    engine second(r.ring_memory, r.pages, r.memory, {usual(kind), false});
    (void)second.run();
    EXPECT_EQ(second.statistics().responses, kind == backend_kind::qemu ? 5u : 0u);
  }
}

TEST(engine, returns_the_errors_of_the_store) {
  failing_store broken(EIO);
  rig r(usual(backend_kind::linux_blkback), false, &broken);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::read, 1, 0, {page(a)})), error);
  broken.error = EOPNOTSUPP;
  EXPECT_EQ(r.status_of(rig::discard(2, 0, 8)), eopnotsupp);
  EXPECT_EQ(r.pages.mappings(), 0u);
}

struct late_rig {
  std::shared_ptr<memory_medium> medium = std::make_shared<memory_medium>(disk_size);
  memory_store memory{medium};
  late_store late{memory};
  rig r{usual(backend_kind::linux_blkback), false, &late};
};

TEST(engine_with_a_late_store, wakes_its_owner_once_for_many_completions) {
  late_rig l;
  int woken = 0;
  l.r.backend->on_wake([&] { ++woken; });
  for (std::uint64_t id = 1; id <= 3; ++id)
    l.r.put(rig::transfer(blkif_op::read, id, 0, {page(a)}));
  EXPECT_FALSE(l.r.backend->run().notify);
  EXPECT_EQ(l.r.backend->in_store(), 3u);
  l.late.do_last();
  l.late.do_last();
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE(l.r.responses().empty());
  EXPECT_TRUE(l.r.backend->run().notify);
  const auto all = l.r.responses();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, 3u);
  EXPECT_EQ(all[1].id, 2u);
  l.late.do_next();
  EXPECT_EQ(woken, 2);
  EXPECT_EQ(l.r.backend->in_store(), 0u);
}

TEST(engine_with_a_late_store, drains_its_ring_before_a_barrier) {
  late_rig l;
  l.r.put(rig::transfer(blkif_op::write, 1, 0, {page(a)}));
  l.r.put(rig::transfer(blkif_op::write_barrier, 2, 8, {page(b)}));
  l.r.put(rig::transfer(blkif_op::write, 3, 16, {page(a)}));
  (void)l.r.backend->run();
  EXPECT_EQ(l.late.waiting.size(), 1u);
  l.late.do_next();
  ASSERT_EQ(l.late.waiting.size(), 1u);
  EXPECT_EQ(l.late.waiting[0]->op, store_op::flush);
  l.late.do_next();
  ASSERT_EQ(l.late.waiting.size(), 1u);
  EXPECT_EQ(l.late.waiting[0]->op, store_op::write);
  EXPECT_EQ(l.late.waiting[0]->offset, 4096u);
  (void)l.r.backend->run();
  EXPECT_EQ(l.late.waiting.size(), 2u);
  l.late.do_next();
  l.late.do_next();
  (void)l.r.backend->run();
  EXPECT_EQ(l.r.responses().size(), 3u);
}

TEST(engine_with_a_late_store, flushes_before_the_data_of_a_flush_and_skips_it_after_an_error) {
  late_rig l;
  l.r.put(rig::transfer(blkif_op::flush_diskcache, 1, 0, {page(a)}));
  (void)l.r.backend->run();
  ASSERT_EQ(l.late.waiting.size(), 1u);
  EXPECT_EQ(l.late.waiting[0]->op, store_op::flush);
  auto* request = l.late.waiting[0];
  l.late.waiting.clear();
  request->done(*request, EIO);
  EXPECT_TRUE(l.late.waiting.empty());
  (void)l.r.backend->run();
  EXPECT_THAT(l.r.responses(), ElementsAre(::testing::Field(&wire::blkif_response::status, -1)));
}

TEST(engine_with_a_late_store, takes_no_request_after_stop_taking) {
  late_rig l;
  l.r.put(rig::transfer(blkif_op::read, 1, 0, {page(a)}));
  (void)l.r.backend->run();
  l.r.backend->stop_taking();
  l.r.put(rig::transfer(blkif_op::read, 2, 0, {page(a)}));
  (void)l.r.backend->run();
  EXPECT_EQ(l.late.waiting.size(), 1u);
  l.late.do_next();
  (void)l.r.backend->run();
  EXPECT_EQ(l.r.responses().size(), 1u);
}

}  // namespace
}  // namespace xenpv::blkback::test
