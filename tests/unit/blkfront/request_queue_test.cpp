// Requests of a queue that has a backend, has no backend, or forwards requests to another queue.
#include "blkfront/request_queue.hpp"

#include <gmock/gmock.h>

#include <memory>
#include <vector>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using fate = request_queue::fate;

error canceled() {
  return make_error(std::make_error_code(std::errc::operation_canceled), "use the disk");
}
error timed_out() {
  return make_error(errc::timed_out, "use the disk");
}

struct forwarded {
  std::vector<blk::request*> requests;
  void take(request_queue& queue) {
    queue.send_forwarded([this](blk::request& r, journal::ticket) { requests.push_back(&r); });
  }
};

TEST(request_queue, refuses_requests_while_it_is_closed) {
  request_queue queue(nullptr, 0, canceled());
  test_request r(operation::read, 0, 512);
  EXPECT_EQ(queue.submit(r, 1), fate::refused);
  EXPECT_EQ(r.status, std::errc::operation_canceled);
  EXPECT_TRUE(queue.is_idle());
}

TEST(request_queue, a_forwarding_queue_is_idle_only_once_its_requests_are_answered) {
  request_queue queue(nullptr, 0, canceled());
  queue.forward();
  test_request r(operation::write, 0, 512);
  EXPECT_EQ(queue.submit(r, 1), fate::sent_soon);
  EXPECT_FALSE(queue.is_idle()) << "a request waits to be sent";
  forwarded sent;
  sent.take(queue);
  EXPECT_THAT(sent.requests, ElementsAre(&r));
  EXPECT_FALSE(queue.is_idle()) << "the other queue has the request";
  queue.answered(r);
  EXPECT_TRUE(queue.is_idle());
}

TEST(request_queue, shutting_a_forwarding_queue_drains_its_requests_and_refuses_new_ones) {
  request_queue queue(nullptr, 0, canceled());
  queue.forward();
  test_request before(operation::write, 0, 512);
  EXPECT_EQ(queue.submit(before, 1), fate::sent_soon);
  queue.shut(canceled());
  EXPECT_EQ(queue.state(), queue_state::draining);
  test_request later(operation::write, 0, 512);
  EXPECT_EQ(queue.submit(later, 1), fate::refused);
  forwarded sent;
  sent.take(queue);
  EXPECT_THAT(sent.requests, ElementsAre(&before));
  EXPECT_EQ(before.answers, 0u);
}

TEST(request_queue, expiring_fails_waiting_requests_and_refuses_new_ones_until_reconnected) {
  request_queue queue(nullptr, 0, canceled());
  EXPECT_EQ(queue.suspend(false, false, 1), 0u);
  test_request waiting(operation::read, 0, 512);
  EXPECT_EQ(queue.submit(waiting, 1), fate::waits);
  queue.expire(timed_out());
  EXPECT_EQ(waiting.answers, 1u);
  EXPECT_EQ(waiting.status, errc::timed_out);
  // After a failed attempt to reconnect, requests are still refused.
  EXPECT_EQ(queue.suspend(false, false, 1), 0u);
  test_request later(operation::read, 0, 512);
  EXPECT_EQ(queue.submit(later, 1), fate::refused);
  EXPECT_EQ(later.status, errc::timed_out);
}

TEST(request_queue, stays_failed_permanently) {
  request_queue queue(nullptr, 0, canceled());
  queue.fail(timed_out());
  queue.shut(canceled());
  EXPECT_EQ(queue.suspend(false, true, 1), 0u);
  queue.close();
  EXPECT_EQ(queue.state(), queue_state::failed);
  test_request r(operation::read, 0, 512);
  EXPECT_EQ(queue.submit(r, 1), fate::refused);
}

TEST(request_queue, a_forwarded_flush_fails_when_answered_writes_were_lost) {
  const auto ledger = std::make_shared<flush_ledger>(2);
  ledger->write_answered(0);
  EXPECT_TRUE(ledger->lose(0));
  request_queue queue(ledger, 1, canceled());
  queue.forward();
  test_request flush(operation::flush, 0, 0);
  test_request write(operation::write, 0, 512);
  (void)queue.submit(flush, 1);
  (void)queue.submit(write, 1);
  forwarded sent;
  sent.take(queue);
  EXPECT_THAT(sent.requests, ElementsAre(&write));
  EXPECT_EQ(flush.answers, 1u);
  EXPECT_EQ(flush.status, std::errc::io_error);
  EXPECT_EQ(queue.refused_flushes(), 1u);
  test_request again(operation::flush, 0, 0);
  queue.answered(write);
  (void)queue.submit(again, 1);
  sent.requests.clear();
  sent.take(queue);
  EXPECT_THAT(sent.requests, ElementsAre(&again)) << "fails only once";
}

}  // namespace
}  // namespace xenpv::blkfront
