#include "sim/recovery_load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <optional>
#include <utility>

namespace xenpv::blkfront {
namespace {

constexpr std::uint32_t cell_size = recovery_oracle::cell_size;
constexpr std::uint64_t cells_of_region = recovery_load::region_size / cell_size;
constexpr std::uint32_t cells_of_block = recovery_load::block_size / cell_size;
constexpr unsigned together_most = 5;

}  // namespace

struct recovery_load::tracked_request : blk::request {
  recovery_load* owner = nullptr;
  std::size_t first_cell = 0;
  std::size_t cells = 0;
  std::vector<std::byte> bytes;
  std::optional<blk::lease> lease;
  recovery_oracle::write write;
  recovery_oracle::moment begun = 0;
  unsigned answers = 0;
  asio::steady_timer* all_answered = nullptr;
  std::size_t* left = nullptr;
};

void recovery_load::report(std::string problem) {
  if (problems_.size() < 3) problems_.push_back(std::move(problem));
  stopped_ = true;
}

/// Picks a range in this worker's region or in the shared region: one or a few blocks, the whole
/// region, or a range that is not aligned to sectors.
void recovery_load::choose_range(tracked_request& r, bool whole_blocks) {
  const auto region = pick(3) == 0 ? shared_ : number_;
  auto first = std::size_t{pick(blocks)} * cells_of_block;
  std::size_t count = cells_of_block;
  const auto kind = pick(10);
  if (kind == 0) {
    first = 0;
    count = cells_of_region;
  } else if (kind < 3) {
    count *= 1 + pick(3);
  } else if (kind < 6 && !whole_blocks) {
    first += pick(cells_of_block);
    count = 1 + pick(2 * cells_of_block);
  }
  r.cells = std::min<std::size_t>(count, cells_of_region - first);
  r.first_cell = region * cells_of_region + first;
  r.offset = r.first_cell * cell_size;
  r.length = r.cells * cell_size;
}

std::unique_ptr<recovery_load::tracked_request> recovery_load::make_request() {
  auto r = std::make_unique<tracked_request>();
  const auto& shape = queue_.shape();
  const auto kind = pick(20);
  if (kind == 0 && shape.can_flush) {
    r->op = blk::operation::flush;
    return r;
  }
  if (kind == 1 && shape.can_discard) {
    r->op = blk::operation::discard;
    choose_range(*r, true);
    return r;
  }
  r->op = kind < 12 ? blk::operation::write : blk::operation::read;
  r->fua = r->op == blk::operation::write && shape.can_flush && pick(10) == 0;
  const bool leased = pick(4) == 0;
  choose_range(*r, leased);
  if (leased) r->lease = queue_.try_lease(r->offset, r->length);
  return r;
}

std::unique_ptr<recovery_load::tracked_request> recovery_load::read_of(std::uint64_t region) {
  auto r = std::make_unique<tracked_request>();
  r->op = blk::operation::read;
  r->first_cell = region * cells_of_region;
  r->cells = cells_of_region;
  r->offset = r->first_cell * cell_size;
  r->length = region_size;
  return r;
}

void recovery_load::begin(tracked_request& r) {
  if (r.op == blk::operation::flush) {
    r.begun = oracle_.begin_flush();
    return;
  }
  if (r.op == blk::operation::discard) {
    r.write = oracle_.begin_discard(r.first_cell, r.cells);
    return;
  }
  r.bytes.resize(r.length);
  if (r.op == blk::operation::write) {
    r.write = oracle_.begin_write(r.first_cell, r.cells);
    recovery_oracle::fill(r.bytes, r.first_cell, r.write);
    if (r.lease) r.lease->copy_from(0, r.bytes);
  } else {
    r.begun = oracle_.begin_read();
  }
  if (r.lease)
    r.pages = &*r.lease;
  else
    r.memory = r.bytes.data();
}

/// Returns true if `r` was allowed to fail: it exceeded its deadline, or it was a flush or FUA
/// write that reported the possible loss of earlier writes. Counts both kinds.
bool recovery_load::may_fail(const tracked_request& r) {
  if (r.status == errc::timed_out && has_deadline_) {
    ++timed_out_;
    return true;
  }
  const bool promises = r.op == blk::operation::flush || r.fua;
  if (!promises || r.status != std::errc::io_error || !oracle_.may_fail_flush()) return false;
  ++flushes_failed_;
  return true;
}

void recovery_load::end(tracked_request& r) {
  const bool failed = bool(r.status);
  if (r.write) {
    using outcome = recovery_oracle::outcome;
    // Like a failed flush, a failed FUA write reports that earlier writes may be lost.
    if (failed && r.fua) oracle_.end_flush(oracle_.begin_flush(), false);
    oracle_.end_write(r.write, failed ? outcome::failed : r.fua ? outcome::durable : outcome::done);
  } else if (r.op == blk::operation::flush) {
    oracle_.end_flush(r.begun, !failed);
  } else {
    if (!failed && r.lease) r.lease->copy_to(0, r.bytes);
    const auto bytes = failed ? std::span<const std::byte>() : std::span(r.bytes).first(r.length);
    const auto wrong = oracle_.end_read(r.begun, r.first_cell, bytes);
    if (!wrong.empty()) report(fmt::format("worker {}: {}", number_, wrong));
  }
  if (failed && !may_fail(r))
    report(fmt::format("worker {}: {}{} of {} bytes at {}: {}", number_, r.fua ? "FUA " : "",
                       to_string(r.op), r.length, r.offset, r.status.message()));
}

void recovery_load::answered(blk::request& r) {
  auto& self = static_cast<tracked_request&>(r);
  if (++self.answers > 1) return self.owner->report(fmt::format("answered {} times", self.answers));
  self.owner->end(self);
  if (--*self.left == 0) self.all_answered->cancel();
}

/// Submits all requests in one handler and returns when all are answered.
asio::awaitable<void> recovery_load::run_together(const batch& requests) {
  asio::steady_timer all_answered(queue_.get_executor(),
                                  std::chrono::steady_clock::time_point::max());
  auto left = requests.size();
  for (const auto& request : requests) {
    request->owner = this;
    request->all_answered = &all_answered;
    request->left = &left;
    request->done = &recovery_load::answered;
    begin(*request);
    queue_.submit(*request);
    ++operations_;
  }
  while (left > 0) {
    try {
      co_await all_answered.async_wait(asio::use_awaitable);
    } catch (const boost::system::system_error&) {
      // Cancelled by the last reply.
    }
  }
}

asio::awaitable<void> recovery_load::run() {
  while (!stopped_) {
    batch requests(1 + (pick(2) == 0 ? pick(together_most) : 0));
    std::generate(requests.begin(), requests.end(), [this] { return make_request(); });
    co_await run_together(requests);
  }
}

asio::awaitable<void> recovery_load::flush() {
  if (!queue_.shape().can_flush) co_return;
  asio::steady_timer pause(queue_.get_executor());
  for (int tries = 0; tries < 200 && problems_.empty(); ++tries) {
    batch one;
    one.push_back(std::make_unique<tracked_request>());
    one[0]->op = blk::operation::flush;
    co_await run_together(one);
    if (!one[0]->status) co_return;
    pause.expires_after(std::chrono::milliseconds(10));
    co_await pause.async_wait(asio::use_awaitable);
  }
  if (problems_.empty()) report(fmt::format("worker {}: every flush fails", number_));
}

asio::awaitable<void> recovery_load::verify() {
  batch both;
  both.push_back(read_of(number_));
  both.push_back(read_of(shared_));
  co_await run_together(both);
}

}  // namespace xenpv::blkfront
