// The coroutines and initiating functions of block_queue, tested on a queue that records its
// requests.
#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <cstring>
#include <future>
#include <optional>

#include "unit/async/run_coroutine.hpp"
#include "unit/blk/pool_memory.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::blk {
namespace {

using async::test::run;
using async::test::run_until_dry;

/// Completes each request asynchronously with the status `answer`. Reads return bytes of 0x5A.
class fake_queue : public block_queue {
 public:
  explicit fake_queue(asio::io_context& context) : context_(context) {
    shape_.size = 1 << 20;
    shape_.sector_size = 4096;
    pages_ = test::make_pool(2);
  }

  asio::any_io_executor get_executor() const override { return context_.get_executor(); }
  void submit(request& r) override {
    seen = r;
    written.clear();
    if (r.op == operation::write) written.assign(r.memory, r.memory + r.length);
    asio::post(context_, [this, &r] {
      if (r.op == operation::read) std::memset(r.memory, 0x5A, r.length);
      r.status = answer;
      r.done(r);
    });
  }
  void commit() override { ++commits; }

  std::error_code answer;
  request seen;
  std::vector<std::byte> written;
  int commits = 0;

 private:
  asio::io_context& context_;
};

class block_queue_test : public ::testing::Test {
 protected:
  /// Runs `body` while the queue completes requests with `answer`. Returns the failure message.
  std::string failure_of(asio::awaitable<void> body, std::error_code answer) {
    queue.answer = answer;
    try {
      run(context, std::move(body));
    } catch (const failure& e) {
      EXPECT_EQ(e.code(), answer);
      return e.what();
    }
    return "no failure";
  }

  asio::io_context context{1};
  fake_queue queue{context};
  const std::error_code io_error = std::make_error_code(std::errc::io_error);
  std::vector<std::byte> bytes = std::vector<std::byte>(4096);
};

TEST_F(block_queue_test, read_fills_the_buffer) {
  run(context, queue.read(8192, bytes));
  EXPECT_EQ(queue.seen.op, operation::read);
  EXPECT_EQ(queue.seen.offset, 8192u);
  EXPECT_EQ(queue.seen.length, 4096u);
  EXPECT_EQ(queue.seen.memory, bytes.data());
  EXPECT_EQ(queue.seen.pages, nullptr);
  EXPECT_EQ(bytes, std::vector<std::byte>(4096, std::byte{0x5A}));
}

TEST_F(block_queue_test, write_passes_the_buffer) {
  const std::vector<std::byte> source(1000, std::byte{7});
  run(context, queue.write(1, source));
  EXPECT_EQ(queue.seen.op, operation::write);
  EXPECT_EQ(queue.seen.offset, 1u);
  EXPECT_FALSE(queue.seen.fua);
  EXPECT_EQ(queue.written, source);
}

TEST_F(block_queue_test, durable_write_sets_fua) {
  run(context, queue.write(0, bytes, true));
  EXPECT_TRUE(queue.seen.fua);
}

TEST_F(block_queue_test, flush_has_no_range) {
  run(context, queue.flush());
  EXPECT_EQ(queue.seen.op, operation::flush);
  EXPECT_EQ(queue.seen.offset, 0u);
  EXPECT_EQ(queue.seen.length, 0u);
  EXPECT_EQ(queue.seen.memory, nullptr);
}

TEST_F(block_queue_test, discard_is_plain_or_secure) {
  run(context, queue.discard(4096, 1ULL << 40));
  EXPECT_EQ(queue.seen.op, operation::discard);
  EXPECT_EQ(queue.seen.offset, 4096u);
  EXPECT_EQ(queue.seen.length, 1ULL << 40);
  run(context, queue.discard(0, 512, true));
  EXPECT_EQ(queue.seen.op, operation::secure_discard);
}

TEST_F(block_queue_test, failure_names_the_range_and_the_reason) {
  const auto read_only = std::make_error_code(std::errc::read_only_file_system);
  EXPECT_EQ(failure_of(queue.read(8192, bytes), io_error),
            "read 4096 bytes at 8192: input/output error");
  EXPECT_EQ(failure_of(queue.write(0, bytes), read_only),
            "write 4096 bytes at 0: read-only file system");
  EXPECT_EQ(failure_of(queue.flush(), io_error), "flush: input/output error");
  EXPECT_EQ(failure_of(queue.discard(512, 1024), io_error),
            "discard 1024 bytes at 512: input/output error");
  EXPECT_EQ(failure_of(queue.discard(512, 1024, true), io_error),
            "secure discard 1024 bytes at 512: input/output error");
}

asio::awaitable<void> three_in_a_row(block_queue& queue, std::span<std::byte> bytes) {
  co_await queue.write(0, bytes);
  co_await queue.flush();
  co_await queue.read(0, bytes);
}

TEST_F(block_queue_test, coroutine_can_await_requests_in_sequence) {
  run(context, three_in_a_row(queue, bytes));
  EXPECT_EQ(bytes[0], std::byte{0x5A});
}

TEST_F(block_queue_test, coroutines_do_not_commit_a_batch) {
  run(context, three_in_a_row(queue, bytes));
  EXPECT_EQ(queue.commits, 0);
}

TEST_F(block_queue_test, run_stores_the_result_in_the_request) {
  request r;
  r.op = operation::write;
  r.fua = true;
  r.offset = 4096;
  r.length = 4096;
  auto pages = *queue.try_lease(4096, 4096);
  r.memory = bytes.data();
  r.pages = &pages;
  run(context, blk::run(queue, r));
  EXPECT_EQ(queue.seen.op, operation::write);
  EXPECT_TRUE(queue.seen.fua);
  EXPECT_EQ(queue.seen.offset, 4096u);
  EXPECT_EQ(queue.seen.length, 4096u);
  EXPECT_EQ(queue.seen.pages, &pages);
  EXPECT_FALSE(r.status);

  queue.answer = io_error;
  run(context, blk::run(queue, r));
  EXPECT_EQ(r.status, io_error);

  queue.answer = {};
  run(context, blk::run(queue, r));
  EXPECT_FALSE(r.status) << "a retry clears the earlier failure";
}

TEST_F(block_queue_test, async_submit_completes_a_future_with_the_status) {
  request r;
  r.op = operation::write;
  r.fua = true;
  r.length = bytes.size();
  r.memory = bytes.data();
  auto written = queue.async_submit(r, asio::use_future);
  EXPECT_EQ(written.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  run_until_dry(context);
  EXPECT_NO_THROW(written.get());
  EXPECT_EQ(queue.seen.op, operation::write);
  EXPECT_TRUE(queue.seen.fua);
  EXPECT_EQ(queue.seen.memory, bytes.data());

  queue.answer = io_error;
  auto failed = queue.async_submit(r, asio::use_future);
  run_until_dry(context);
  try {
    failed.get();
    FAIL();
  } catch (const boost::system::system_error& e) {
    EXPECT_TRUE(e.code() == io_error) << e.what();
  }
  EXPECT_EQ(r.status, io_error);
}

asio::awaitable<void> read_as_tuple(block_queue& queue, std::span<std::byte> buffer,
                                    std::error_code& result) {
  const auto [code] = co_await queue.async_read(0, buffer, asio::as_tuple(asio::use_awaitable));
  result = code;
}

TEST_F(block_queue_test, as_tuple_returns_the_error_status) {
  queue.answer = io_error;
  std::error_code result;
  run(context, read_as_tuple(queue, bytes, result));
  EXPECT_EQ(result, io_error);
  queue.answer = {};
  run(context, read_as_tuple(queue, bytes, result));
  EXPECT_FALSE(result);
}

TEST_F(block_queue_test, initiating_functions_submit_the_same_requests_as_the_coroutines) {
  auto read = queue.async_read(8192, bytes, asio::use_future);
  EXPECT_EQ(queue.seen.op, operation::read);
  EXPECT_EQ(queue.seen.offset, 8192u);
  EXPECT_EQ(queue.seen.memory, bytes.data());
  auto write = queue.async_write(1, bytes, asio::use_future);
  EXPECT_EQ(queue.seen.op, operation::write);
  EXPECT_EQ(queue.seen.offset, 1u);
  EXPECT_FALSE(queue.seen.fua);
  EXPECT_EQ(queue.written.size(), bytes.size());
  auto flush = queue.async_flush(asio::use_future);
  EXPECT_EQ(queue.seen.op, operation::flush);
  auto discard = queue.async_discard(4096, 1ULL << 40, asio::use_future);
  EXPECT_EQ(queue.seen.op, operation::discard);
  EXPECT_EQ(queue.seen.length, 1ULL << 40);
  run_until_dry(context);
  for (auto* const done : {&read, &write, &flush, &discard})
    EXPECT_NO_THROW(done->get());
  EXPECT_EQ(bytes[0], std::byte{0x5A});
}

TEST_F(block_queue_test, cancellation_does_not_interrupt_a_request) {
  std::optional<boost::system::error_code> result;
  const auto finish = [&](boost::system::error_code code) { result = code; };
  asio::cancellation_signal cancel;
  queue.async_read(0, bytes, asio::bind_cancellation_slot(cancel.slot(), finish));
  cancel.emit(asio::cancellation_type::terminal);
  EXPECT_FALSE(result.has_value());
  run_until_dry(context);
  ASSERT_TRUE(result.has_value());
  EXPECT_FALSE(*result);
}

TEST_F(block_queue_test, request_completes_on_the_associated_executor) {
  asio::io_context other(1);
  std::optional<boost::system::error_code> result;
  const auto finish = [&](boost::system::error_code code) { result = code; };
  queue.async_flush(asio::bind_executor(other.get_executor(), finish));
  other.poll();
  EXPECT_FALSE(other.stopped()) << "a pending request keeps the context running";
  run_until_dry(context);
  EXPECT_FALSE(result.has_value());
  other.poll();
  EXPECT_TRUE(result.has_value());
}

TEST_F(block_queue_test, leases_are_aligned_to_the_device_sectors) {
  const auto pages = queue.try_lease(4096 + 512, 4096);
  ASSERT_TRUE(pages.has_value());
  EXPECT_EQ(pages->lead(), 512u);
  EXPECT_EQ(pages->pages().count, 2);
  EXPECT_FALSE(queue.try_lease(0, 1).has_value());
}

TEST(block_operation, has_a_name) {
  EXPECT_EQ(to_string(operation::read), "read");
  EXPECT_EQ(to_string(operation::write), "write");
  EXPECT_EQ(to_string(operation::flush), "flush");
  EXPECT_EQ(to_string(operation::discard), "discard");
  EXPECT_EQ(to_string(operation::secure_discard), "secure discard");
  EXPECT_EQ(to_string(operation{5}), "invalid");
  EXPECT_EQ(operation_count, 5u);
}

}  // namespace
}  // namespace xenpv::blk
