#include <gtest/gtest.h>

#include "dispatcher_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

TEST(dispatcher, reads_into_pages_and_replies_once_the_data_has_arrived) {
  dispatcher_rig rig;
  const auto bytes = pattern(4096);
  std::memcpy(rig.device.bytes.data() + 512, bytes.data(), bytes.size());
  EXPECT_EQ(rig.begin({nbd_command::read, 7, 512, 4096}), nullptr);
  EXPECT_EQ(rig.queue.log, lines{"read 512+4096 pages"});
  EXPECT_EQ(rig.replies(), lines{}) << "the reply must not precede the data";
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"7 data 4096"});
  EXPECT_EQ(rig.data(), bytes);
  EXPECT_EQ(rig.dispatch().statistics().from_heap, 0U);
}

TEST(dispatcher, wakes_the_session_once_for_replies_that_are_queued_together) {
  dispatcher_rig rig;
  for (std::uint64_t i = 0; i < 3; ++i)
    (void)rig.begin({nbd_command::read, i, i * 4096, 4096});
  rig.queue.answer_all();
  EXPECT_EQ(rig.wake_ups, 1U);
  EXPECT_EQ(rig.replies().size(), 3U);
  (void)rig.begin({nbd_command::read, 3, 0, 4096});
  rig.queue.answer_all();
  EXPECT_EQ(rig.wake_ups, 2U);
}

TEST(dispatcher, uses_the_heap_for_requests_of_too_many_pages_and_counts_them) {
  // A lease may use at most an eighth of the pool: 8 pages here.
  dispatcher_rig rig({.pages = 64});
  const auto bytes = pattern(64 * kib);
  std::memcpy(rig.device.bytes.data() + 100, bytes.data(), bytes.size());
  (void)rig.begin({nbd_command::read, 1, 100, 24 * kib});
  (void)rig.begin({nbd_command::read, 2, 100, 64 * kib});
  EXPECT_EQ(rig.queue.log, (lines{"read 100+24576 pages", "read 100+65536 memory"}));
  EXPECT_EQ(rig.dispatch().statistics().from_heap, 1U);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), (lines{"1 data 24576", "2 data 65536"}));
  EXPECT_EQ(rig.data(), bytes);
}

TEST(dispatcher, leaves_a_quarter_of_the_pages_to_others_while_replies_wait) {
  dispatcher_rig rig({.pages = 64});
  for (std::uint64_t i = 0; i < 100; ++i)
    (void)rig.begin({nbd_command::read, i, i * 4096, 4096});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().size(), 100U);
  EXPECT_GE(rig.queue.pages()->least_free(), 16U);
  EXPECT_EQ(rig.dispatch().statistics().from_heap, 100 - (64 - rig.queue.pages()->least_free()));
  rig.recycle();
  EXPECT_EQ(rig.queue.pages()->free(), 64U);
}

TEST(dispatcher, writes_from_pages_for_any_split_of_the_payload) {
  for (const std::size_t at_once : {1U, 7U, 411U, 4096U, 5000U}) {
    dispatcher_rig rig;
    // Fragments the pool, so that the payload is spread over pages that are not adjacent.
    auto held = rig.queue.try_lease(0, 8192);
    auto released = rig.queue.try_lease(0, 4096);
    held.reset();
    released.reset();
    const auto bytes = pattern(10'000, 3);
    rig.write({nbd_command::write, 1, 511, bytes.size()}, bytes, at_once);
    EXPECT_EQ(rig.queue.log, lines{"write 511+10000 pages"}) << at_once;
    rig.queue.answer();
    EXPECT_EQ(rig.replies(), lines{"1 ok"});
    EXPECT_EQ(rig.stored(511, bytes.size()), bytes) << at_once;
    EXPECT_EQ(rig.stored(0, 511), std::string(511, '\0'));
  }
}

TEST(dispatcher, sends_a_large_write_in_pieces_while_the_rest_is_received) {
  dispatcher_rig rig({.size = 4 * mib});
  const auto bytes = pattern(mib + 1000);
  auto* const op = rig.begin({nbd_command::write, 1, 8192, bytes.size()});
  ASSERT_NE(op, nullptr);
  EXPECT_TRUE(rig.receive(*op, std::string_view(bytes).substr(0, 256 * kib)));
  rig.dispatch().commit();
  EXPECT_EQ(rig.queue.waiting.size(), 1U);
  // This response does not complete the request: further pieces follow.
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{});
  EXPECT_FALSE(rig.receive(*op, std::string_view(bytes).substr(256 * kib)));
  rig.dispatch().commit();
  EXPECT_EQ(rig.queue.log, (lines{"write 8192+262144 memory", "write 270336+262144 memory",
                                  "write 532480+262144 memory", "write 794624+262144 memory",
                                  "write 1056768+1000 pages"}));
  while (rig.queue.waiting.size() > 1)
    rig.queue.answer(rig.queue.waiting.size() - 1);
  EXPECT_EQ(rig.replies(), lines{});
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_EQ(rig.stored(8192, bytes.size()), bytes);
  EXPECT_EQ(rig.dispatch().statistics().bytes_written, bytes.size());
}

TEST(dispatcher, sends_fua_with_a_write_of_one_piece) {
  dispatcher_rig rig;
  rig.write({nbd_command::write, 1, 0, 512, fua}, pattern(512));
  EXPECT_EQ(rig.queue.log, lines{"write 0+512 fua pages"});
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
}

TEST(dispatcher, implements_fua_of_several_pieces_by_a_flush_after_the_last_response) {
  dispatcher_rig rig;
  rig.write({nbd_command::write, 1, 0, 300 * kib, fua}, pattern(300 * kib));
  EXPECT_EQ(rig.queue.log, (lines{"write 0+262144 memory", "write 262144+45056 memory"}));
  rig.queue.answer(1);
  EXPECT_EQ(rig.queue.submitted, 2U) << "a flush now would not cover the other piece";
  rig.queue.answer();
  EXPECT_EQ(rig.queue.log.back(), "flush");
  rig.dispatch().commit();
  EXPECT_EQ(rig.replies(), lines{}) << "the data is not persistent yet";
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
}

TEST(dispatcher, writes_zeroes_from_one_block_a_few_pieces_at_a_time) {
  dispatcher_rig rig({.size = 8 * mib});
  std::fill(rig.device.bytes.begin(), rig.device.bytes.end(), std::byte{0xAA});
  const auto length = 3 * mib + 512;
  (void)rig.begin({nbd_command::write_zeroes, 1, 1024, length, wire::nbd_cmd_flag_no_hole});
  EXPECT_EQ(rig.queue.waiting.size(), 4U);
  const auto* const block = rig.queue.waiting.front()->memory;
  while (!rig.queue.waiting.empty()) {
    EXPECT_EQ(rig.replies(), lines{});
    EXPECT_EQ(rig.queue.waiting.front()->memory, block);
    rig.queue.answer();
    rig.dispatch().commit();
  }
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_EQ(rig.queue.submitted, 13U);
  EXPECT_EQ(rig.queue.most_waiting, 4U);
  EXPECT_EQ(rig.dispatch().statistics().from_heap, 0U);
  EXPECT_EQ(rig.stored(1024, length), std::string(length, '\0'));
  EXPECT_EQ(rig.stored(1023, 1), "\xAA");
  EXPECT_EQ(rig.stored(1024 + length, 1), "\xAA");
}

TEST(dispatcher, implements_fua_of_zeroes_and_trim_by_a_flush) {
  for (const auto command : {nbd_command::write_zeroes, nbd_command::trim}) {
    dispatcher_rig rig;
    (void)rig.begin({command, 1, 0, 4096, fua});
    rig.queue.answer();
    EXPECT_EQ(rig.queue.log.back(), "flush");
    EXPECT_EQ(rig.replies(), lines{});
    rig.dispatch().commit();
    rig.queue.answer();
    EXPECT_EQ(rig.replies(), lines{"1 ok"});
  }
}

TEST(dispatcher, accepts_fua_with_commands_that_change_nothing_without_a_flush) {
  dispatcher_rig rig;
  (void)rig.begin({nbd_command::read, 1, 0, 512, fua});
  (void)rig.begin({nbd_command::flush, 3, 0, 0, fua});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), (lines{"1 data 512", "3 ok"}));
  EXPECT_EQ(rig.queue.log, (lines{"read 0+512 pages", "flush"}));
}

TEST(dispatcher, trims_any_length_in_one_request) {
  dispatcher_rig rig({.size = 8 * mib});
  (void)rig.begin({nbd_command::trim, 1, 512, 8 * mib - 512});
  EXPECT_EQ(rig.queue.log, lines{"discard 512+8388096"});
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
}

TEST(dispatcher, does_nothing_for_empty_requests) {
  dispatcher_rig rig;
  for (const auto command :
       {nbd_command::read, nbd_command::write, nbd_command::trim, nbd_command::write_zeroes})
    EXPECT_EQ(rig.begin({command, 1, 4096, 0}), nullptr);
  EXPECT_EQ(rig.queue.submitted, 0U);
  EXPECT_EQ(rig.replies(), lines(4, "1 ok"));
}

TEST(dispatcher, begins_no_request_at_the_request_limit_until_replies_are_sent) {
  dispatcher_rig rig({}, {}, {.requests = 3, .heap = mib});
  for (std::uint64_t i = 0; i < 3; ++i)
    (void)rig.begin({nbd_command::read, i, 0, 512});
  EXPECT_FALSE(rig.can_begin({nbd_command::flush, 4}));
  rig.queue.answer_all();
  EXPECT_FALSE(rig.can_begin({nbd_command::flush, 4})) << "unsent replies count as requests";
  rig.recycle();
  EXPECT_TRUE(rig.can_begin({nbd_command::flush, 4}));
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
}

TEST(dispatcher, begins_no_request_that_would_exceed_the_heap_limit) {
  dispatcher_rig rig({}, {}, {.requests = 100, .heap = 300 * kib});
  (void)rig.begin({nbd_command::read, 1, 0, 200 * kib});
  EXPECT_FALSE(rig.can_begin({nbd_command::read, 2, 0, 200 * kib}));
  EXPECT_TRUE(rig.can_begin({nbd_command::read, 2, 0, 4096})) << "uses pages";
  EXPECT_EQ(rig.dispatch().heap_used(), 256 * kib);
  rig.queue.answer_all();
  rig.recycle();
  EXPECT_TRUE(rig.can_begin({nbd_command::read, 2, 0, 200 * kib}));
}

TEST(dispatcher, begins_a_single_request_beyond_the_heap_limit) {
  dispatcher_rig rig({}, {}, {.requests = 100, .heap = 300 * kib});
  (void)rig.begin({nbd_command::read, 1, 0, mib});
  EXPECT_FALSE(rig.can_begin({nbd_command::read, 2, 0, 200 * kib}));
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 1048576"});
  rig.recycle();
  EXPECT_TRUE(rig.can_begin({nbd_command::read, 2, 0, mib}));
}

TEST(dispatcher, announces_that_a_waiting_request_may_begin) {
  dispatcher_rig rig({}, {}, {.requests = 1});
  (void)rig.begin({nbd_command::read, 1, 0, 512});
  const request_header next{0, nbd_command::flush, 2, 0, 0};
  EXPECT_FALSE(rig.dispatch().prepare(next, {}));
  rig.queue.answer_all();
  EXPECT_EQ(rig.resumed, 0U);
  rig.recycle();
  EXPECT_EQ(rig.resumed, 1U);
}

TEST(dispatcher, reuses_the_memory_of_a_write_when_it_is_answered) {
  dispatcher_rig rig({}, {}, {.requests = 100, .heap = 256 * kib});
  rig.write({nbd_command::write, 1, 0, 256 * kib}, pattern(256 * kib));
  EXPECT_FALSE(rig.can_begin({nbd_command::write, 2, 0, 256 * kib}));
  rig.queue.answer();
  EXPECT_TRUE(rig.can_begin({nbd_command::write, 2, 0, 256 * kib}))
      << "the reply does not need the memory";
}

TEST(dispatcher, adds_the_first_byte_of_the_export_to_offsets_at_the_device) {
  dispatcher_rig rig({.size = 8 * mib}, {.structured = true}, {}, 4 * mib);
  const auto bytes = pattern(mib);
  rig.write({nbd_command::write, 1, 512, mib}, bytes);
  (void)rig.begin({nbd_command::write_zeroes, 2, 2 * mib, 4096});
  (void)rig.begin({nbd_command::trim, 3, 0, 512});
  (void)rig.begin({nbd_command::read, 4, 512, 512});
  rig.queue.answer_all();
  EXPECT_EQ(rig.queue.log.front(), "write 4194816+261632 memory");
  EXPECT_EQ(rig.queue.log[rig.queue.log.size() - 3], "write 6291456+4096 memory");
  EXPECT_EQ(rig.queue.log[rig.queue.log.size() - 2], "discard 4194304+512");
  EXPECT_EQ(rig.queue.log.back(), "read 4194816+512 pages");
  EXPECT_EQ(rig.stored(4 * mib + 512, mib), bytes);
  (void)rig.replies();
  EXPECT_EQ(rig.data_offset(), 512U);
  rig.recycle();
  (void)rig.begin({nbd_command::read, 5, 512, mib});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies().back(), "5 data 262144");
  EXPECT_EQ(rig.data_offset(), 512 + 768 * kib);
}

TEST(dispatcher, distinguishes_requests_with_the_same_cookie) {
  dispatcher_rig rig;
  rig.device.bytes[0] = std::byte{'a'};
  rig.device.bytes[4096] = std::byte{'b'};
  (void)rig.begin({nbd_command::read, 5, 0, 1});
  (void)rig.begin({nbd_command::read, 5, 4096, 1});
  rig.queue.answer(1);
  EXPECT_EQ(rig.replies(), lines{"5 data 1"});
  EXPECT_EQ(rig.data(), "b");
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"5 data 1"});
  EXPECT_EQ(rig.data(), "a");
}

TEST(dispatcher, counts_requests_errors_and_bytes) {
  dispatcher_rig rig;
  (void)rig.begin({nbd_command::read, 1, 0, 1000});
  rig.write({nbd_command::write, 2, 0, 2000}, pattern(2000));
  (void)rig.begin({nbd_command::read, 3, mib, 1});
  rig.queue.answer_all();
  const auto& counted = rig.dispatch().statistics();
  EXPECT_EQ(counted.requests, 3U);
  EXPECT_EQ(counted.errors, 1U);
  EXPECT_EQ(counted.bytes_read, 1000U);
  EXPECT_EQ(counted.bytes_written, 2000U);
}

}  // namespace
}  // namespace xenpv::nbd
