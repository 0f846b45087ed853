// One queue between a fake kernel driver and a block device whose requests the test completes.
#include "ublk/queue_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <random>
#include <string>

#include "played_kernel.hpp"
#include "unit/nbd/fake_device.hpp"

namespace xenpv::ublk::test {
namespace {

using nbd::test::fake_device;
using nbd::test::fake_options;
using nbd::test::fake_queue;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class queue_rig {
 public:
  explicit queue_rig(fake_options options = {}, std::uint16_t depth = 4,
                     std::uint32_t largest = 64U << 10U)
      : device(std::vector<asio::any_io_executor>{context_.get_executor()}, held(options)),
        queue(device.queue(0)) {
    kernel->info.state = device_state::live;
    kernel->info.flags = f_user_recovery | f_user_recovery_reissue;
    kernel->pending.resize(1);
    kernel->queues.resize(1);
    auto played = std::make_unique<played_queue>(kernel, context_.get_executor(), 0, depth);
    ring = played.get();
    server = std::make_shared<queue_server>(queue, std::move(played), depth, largest,
                                            [this](const queue_server&) { ++changes; });
  }
  ~queue_rig() {
    if (!closed) {
      EXPECT_EQ(ring->violations, "");
    }
    if (server) server->close();
    queue.answer_all();
    run();
  }
  queue_rig(const queue_rig&) = delete;
  queue_rig& operator=(const queue_rig&) = delete;

  void run() {
    context_.restart();
    context_.run();
  }
  void start() {
    server->start();
    run();
  }
  std::shared_ptr<user_request> ask(user_request request) {
    auto out = kernel->submit(0, std::move(request));
    run();
    return out;
  }
  std::shared_ptr<user_request> write(std::uint64_t sector, std::string data,
                                      std::uint32_t flags = 0) {
    const auto sectors = static_cast<std::uint32_t>(data.size() / sector_bytes);
    return ask({io_operation::write, flags, sector, sectors, std::move(data)});
  }
  std::shared_ptr<user_request> read(std::uint64_t sector, std::uint32_t sectors) {
    return ask({io_operation::read, 0, sector, sectors, {}});
  }
  void answer_all() {
    queue.answer_all();
    run();
  }
  void abort_tags() {
    {
      const std::lock_guard lock(kernel->mutex);
      kernel->is_aborting = true;
    }
    ring->wake();
    run();
  }
  void close() {
    closed = true;
    server->close();
  }

 private:
  static fake_options held(fake_options options) {
    options.answers = false;
    return options;
  }
  asio::io_context context_;

 public:
  fake_device device;
  fake_queue& queue;
  std::shared_ptr<played_device> kernel = std::make_shared<played_device>();
  played_queue* ring = nullptr;
  std::shared_ptr<queue_server> server;
  unsigned changes = 0;
  bool closed = false;
};

std::string pattern(std::size_t size, char seed) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    out[i] = static_cast<char>(static_cast<unsigned char>(seed) + i / 512 * 7 + i);
  return out;
}

TEST(ublk_queue_server, gives_all_tags_to_the_kernel_in_one_call) {
  queue_rig rig;
  EXPECT_EQ(rig.server->owner(0), tag_owner::nobody);
  rig.start();
  EXPECT_TRUE(rig.ring->has_all_tags());
  EXPECT_EQ(rig.ring->submissions, 1U);
  for (std::uint16_t tag = 0; tag < 4; ++tag)
    EXPECT_EQ(rig.server->owner(tag), tag_owner::kernel);
}

TEST(ublk_queue_server, moves_data_through_leased_pages) {
  queue_rig rig;
  rig.start();
  const auto data = pattern(8192, 'a');
  const auto written = rig.write(16, data);
  EXPECT_FALSE(written->is_done);
  EXPECT_EQ(rig.server->owner(0), tag_owner::device);
  rig.answer_all();
  EXPECT_TRUE(written->is_done);
  EXPECT_EQ(written->result, 8192);
  const auto got = rig.read(16, 16);
  rig.answer_all();
  EXPECT_EQ(got->result, 8192);
  EXPECT_EQ(got->data, data);
  EXPECT_THAT(rig.queue.log, ElementsAre("write 8192+8192 pages", "read 8192+8192 pages"));
  EXPECT_EQ(rig.server->statistics().requests, 2U);
  EXPECT_EQ(rig.server->statistics().copied, 0U);
  EXPECT_EQ(rig.server->statistics().in_service, 0U);
}

TEST(ublk_queue_server, passes_flush_discard_and_fua) {
  queue_rig rig;
  rig.start();
  const auto flushed = rig.ask({.op = io_operation::flush});
  const auto discarded = rig.ask({.op = io_operation::discard, .sector = 8, .sectors = 64});
  const auto written = rig.write(0, pattern(512, 'b'), io_f_fua);
  rig.answer_all();
  EXPECT_THAT(rig.queue.log, ElementsAre("flush", "discard 4096+32768", "write 0+512 fua pages"));
  EXPECT_EQ(flushed->result, 0);
  EXPECT_EQ(discarded->result, 0);
  EXPECT_EQ(written->result, 512);
}

TEST(ublk_queue_server, refuses_what_the_device_does_not_offer) {
  queue_rig rig;
  rig.start();
  EXPECT_EQ(rig.ask({.op = io_operation::write_zeroes, .sectors = 8})->result, -EOPNOTSUPP);
  EXPECT_EQ(rig.ask({.op = static_cast<io_operation>(15), .sectors = 8})->result, -EOPNOTSUPP);
  EXPECT_EQ(rig.ask({.op = io_operation::read, .sectors = 4096})->result, -EINVAL);
  EXPECT_TRUE(rig.queue.log.empty());
  EXPECT_EQ(rig.server->owner(0), tag_owner::kernel);
}

TEST(ublk_queue_server, reports_errors_of_the_device) {
  queue_rig rig;
  rig.start();
  rig.queue.fails = [](const blk::request& r) {
    return r.op == blk::operation::read ? std::make_error_code(std::errc::timed_out)
                                        : std::make_error_code(std::errc::read_only_file_system);
  };
  const auto got = rig.read(0, 8);
  const auto written = rig.write(0, pattern(512, 'c'));
  rig.answer_all();
  EXPECT_EQ(got->result, -ETIMEDOUT);
  EXPECT_EQ(got->data, "");
  EXPECT_EQ(written->result, -EIO);
  EXPECT_EQ(rig.queue.pages()->free(), rig.queue.pages()->size());
}

TEST(ublk_queue_server, sends_and_commits_in_batches) {
  queue_rig rig({}, 8);
  rig.start();
  std::vector<std::shared_ptr<user_request>> asked;
  for (unsigned i = 0; i < 8; ++i)
    asked.push_back(rig.kernel->submit(0, {.sector = i * 8ULL, .sectors = 8}));
  rig.run();
  EXPECT_THAT(rig.queue.batches, ElementsAre(8U));
  const auto before = rig.ring->submissions;
  rig.answer_all();
  EXPECT_EQ(rig.ring->submissions, before + 1);
  for (const auto& request : asked)
    EXPECT_EQ(request->result, 4096);
}

TEST(ublk_queue_server, takes_no_more_requests_than_it_has_tags) {
  queue_rig rig({}, 2);
  rig.start();
  for (unsigned i = 0; i < 5; ++i)
    rig.kernel->submit(0, {.sector = i, .sectors = 1});
  rig.run();
  EXPECT_EQ(rig.queue.waiting.size(), 2U);
  EXPECT_EQ(rig.kernel->unfinished(), 3U);
  rig.queue.answer();
  rig.run();
  EXPECT_EQ(rig.queue.waiting.size(), 2U);
  EXPECT_EQ(rig.kernel->unfinished(), 2U);
  while (!rig.queue.waiting.empty())
    rig.answer_all();
  EXPECT_EQ(rig.kernel->unfinished(), 0U);
}

TEST(ublk_queue_server, waits_for_pages_in_the_order_of_arrival) {
  // 16 pages: a second request of 12 pages must wait, and a small one behind it does not overtake.
  queue_rig rig({.pages = 16});
  rig.start();
  const auto first = rig.read(0, 96);
  const auto large = rig.read(0, 96);
  const auto small = rig.read(0, 1);
  EXPECT_EQ(rig.queue.waiting.size(), 1U);
  EXPECT_EQ(rig.server->owner(1), tag_owner::waiting);
  EXPECT_EQ(rig.server->owner(2), tag_owner::waiting);
  rig.queue.answer();
  rig.run();
  EXPECT_TRUE(first->is_done);
  EXPECT_EQ(rig.queue.waiting.size(), 2U);
  rig.answer_all();
  EXPECT_EQ(large->result, 96 * 512);
  EXPECT_EQ(small->result, 512);
  EXPECT_EQ(rig.server->statistics().waited, 2U);
  EXPECT_EQ(rig.server->statistics().copied, 0U);
}

TEST(ublk_queue_server, copies_a_request_that_can_never_have_pages) {
  queue_rig rig({.pages = 4});
  rig.start();
  const auto data = pattern(32768, 'd');
  const auto written = rig.write(0, data);
  rig.answer_all();
  const auto got = rig.read(0, 64);
  rig.answer_all();
  EXPECT_EQ(written->result, 32768);
  EXPECT_EQ(got->data, data);
  EXPECT_THAT(rig.queue.log, ElementsAre("write 0+32768 memory", "read 0+32768 memory"));
  EXPECT_EQ(rig.server->statistics().copied, 2U);
}

TEST(ublk_queue_server, ends_when_the_kernel_aborts_all_tags) {
  queue_rig rig;
  rig.start();
  const auto got = rig.read(0, 1);
  rig.abort_tags();
  EXPECT_FALSE(rig.server->ended()) << "one tag is with the device";
  rig.answer_all();
  EXPECT_EQ(got->result, 512);
  EXPECT_TRUE(rig.server->ended());
  EXPECT_GE(rig.changes, 1U);
  EXPECT_EQ(rig.server->error(), 0);
}

TEST(ublk_queue_server, reports_a_refused_command) {
  queue_rig rig;
  rig.ring->refuse_fetch = EBUSY;
  rig.start();
  EXPECT_EQ(rig.server->error(), EBUSY);
  EXPECT_TRUE(rig.server->ended());
  EXPECT_GE(rig.changes, 1U);
}

TEST(ublk_queue_server, does_not_trust_the_tags_of_completions) {
  queue_rig rig;
  rig.start();
  const auto got = rig.read(0, 1);
  rig.server->completed(0, io_res_ok);  // the device has it
  rig.server->completed(99, io_res_ok);
  rig.server->batch_completed();
  EXPECT_EQ(rig.server->error(), EPROTO);
  rig.answer_all();
  EXPECT_EQ(got->result, 512);
  EXPECT_EQ(rig.queue.submitted, 1U);
}

TEST(ublk_queue_server, leaves_new_requests_to_the_next_server) {
  queue_rig rig;
  rig.start();
  const auto served = rig.read(0, 1);
  rig.server->leave();
  const auto held = rig.read(8, 1);
  EXPECT_EQ(rig.server->owner(1), tag_owner::held);
  EXPECT_EQ(rig.server->statistics().in_service, 1U);
  const auto before = rig.changes;
  rig.answer_all();
  EXPECT_TRUE(served->is_done);
  EXPECT_GT(rig.changes, before);
  EXPECT_EQ(rig.server->statistics().in_service, 0U);
  EXPECT_FALSE(held->is_done);
  rig.close();
  EXPECT_EQ(rig.kernel->unfinished(), 1U) << "the kernel issues the request again";
  EXPECT_FALSE(held->is_done);
}

TEST(ublk_queue_server, leaves_requests_that_wait_for_pages_too) {
  queue_rig rig({.pages = 16});
  rig.start();
  const auto served = rig.read(0, 96);
  const auto waiting = rig.read(0, 96);
  rig.server->leave();
  EXPECT_EQ(rig.server->owner(1), tag_owner::held);
  rig.answer_all();
  EXPECT_TRUE(served->is_done);
  EXPECT_FALSE(waiting->is_done);
  EXPECT_EQ(rig.server->statistics().in_service, 0U);
}

TEST(ublk_queue_server, fails_all_requests_without_waiting_for_the_device) {
  queue_rig rig({.pages = 16});
  rig.start();
  const auto sent = rig.read(0, 96);
  const auto waiting = rig.read(0, 96);
  rig.server->fail_all();
  rig.run();
  EXPECT_EQ(sent->result, -EIO);
  EXPECT_EQ(waiting->result, -EIO);
  // The device still has the pages of the first.
  EXPECT_EQ(rig.queue.pages()->free(), 4U);
  const auto later = rig.read(0, 1);
  EXPECT_EQ(later->result, -EIO);
  rig.answer_all();
  EXPECT_EQ(rig.queue.pages()->free(), 16U);
  EXPECT_EQ(rig.queue.submitted, 1U);
  EXPECT_EQ(rig.server->statistics().in_service, 0U);
}

TEST(ublk_queue_server, lives_until_the_device_has_answered) {
  queue_rig rig;
  rig.start();
  const auto got = rig.read(0, 8);
  rig.close();
  const std::weak_ptr<queue_server> alive = rig.server;
  rig.server.reset();
  EXPECT_FALSE(alive.expired());
  rig.queue.answer_all();
  EXPECT_TRUE(alive.expired());
  EXPECT_FALSE(got->is_done);
  EXPECT_EQ(rig.queue.pages()->free(), rig.queue.pages()->size());
}

TEST(ublk_queue_server, closes_while_requests_wait_for_pages) {
  queue_rig rig({.pages = 16});
  rig.start();
  rig.read(0, 96);
  rig.read(0, 96);
  rig.close();
  EXPECT_FALSE(rig.queue.pages()->has_waiters());
  rig.server.reset();
  rig.queue.answer_all();
  EXPECT_EQ(rig.queue.pages()->free(), 16U);
}

// Random requests, answers in random order, and random failures: each request is completed exactly
// once, with its own data.
TEST(ublk_queue_server, completes_each_of_many_random_requests_once) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
    queue_rig rig({.pages = 12 + below(60)}, static_cast<std::uint16_t>(1 + below(16)));
    rig.start();
    // Each request has its own place of 64 KiB at most, so that their order does not matter.
    std::vector<std::shared_ptr<user_request>> asked;
    std::vector<std::string> expected;
    for (unsigned i = 0; i < 16; ++i) {
      const auto sectors = 1 + below(128);
      auto data = pattern(sectors * std::size_t{512}, static_cast<char>(i));
      expected.push_back(data);
      asked.push_back(
          rig.kernel->submit(0, {io_operation::write, 0, i * 128ULL, sectors, std::move(data)}));
      if (below(3) == 0) rig.run();
      while (!rig.queue.waiting.empty() && below(2) == 0) {
        rig.queue.answer(below(static_cast<unsigned>(rig.queue.waiting.size())));
        rig.run();
      }
    }
    rig.run();
    while (!rig.queue.waiting.empty())
      rig.answer_all();
    for (unsigned i = 0; i < 16; ++i) {
      EXPECT_EQ(asked[i]->result, static_cast<std::int32_t>(expected[i].size()));
      EXPECT_EQ(asked[i]->deliveries, 1U);
      const auto got = rig.read(i * 128ULL, asked[i]->sectors);
      rig.answer_all();
      EXPECT_EQ(got->data, expected[i]);
    }
  }
}

}  // namespace
}  // namespace xenpv::ublk::test
