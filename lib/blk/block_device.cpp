#include "xenpv/blk/block_device.hpp"

#include <fmt/format.h>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <optional>

#include "xenpv/base/error.hpp"

namespace xenpv::blk {
namespace {

namespace asio = boost::asio;

/// A request that is stored in the frame of the coroutine that awaits it.
struct awaited_request : request {
  std::optional<asio::any_completion_handler<void()>> waiter;
};

void resume(request& r) {
  auto& self = static_cast<awaited_request&>(r);
  // Move the handler out first, because the resumed coroutine may destroy the request.
  auto waiter = std::move(*self.waiter);
  self.waiter.reset();
  std::move(waiter)();
}

struct start_request {
  block_queue* queue;
  awaited_request* r;
  template <class Handler>
  void operator()(Handler&& handler) const {
    r->waiter.emplace(std::forward<Handler>(handler));
    r->done = resume;
    queue->submit(*r);
  }
};

void throw_failed(const request& r) {
  if (!r.status) return;
  if (r.op == operation::flush) throw failure(r.status, "flush");
  throw failure(r.status, fmt::format("{} {} bytes at {}", to_string(r.op), r.length, r.offset));
}

async::asio::awaitable<void> run_awaited(block_queue& queue, awaited_request& r) {
  // Do not use a temporary: g++ 12 destroys temporary aggregates of a co_await expression twice.
  start_request start{&queue, &r};
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void()>(start, asio::use_awaitable);
}

awaited_request make_request(operation op, std::uint64_t offset, std::uint64_t length,
                             std::byte* memory) {
  awaited_request r;
  r.op = op;
  r.offset = offset;
  r.length = length;
  r.memory = memory;
  return r;
}

}  // namespace

async::asio::awaitable<void> run(block_queue& queue, request& r) {
  awaited_request copy;
  static_cast<request&>(copy) = r;
  co_await run_awaited(queue, copy);
  r.status = copy.status;
}

async::asio::awaitable<void> block_queue::read(std::uint64_t offset, std::span<std::byte> buffer) {
  auto r = make_request(operation::read, offset, buffer.size(), buffer.data());
  co_await run_awaited(*this, r);
  throw_failed(r);
}

async::asio::awaitable<void> block_queue::write(std::uint64_t offset,
                                                std::span<const std::byte> data, bool fua) {
  // A write only reads the memory, but a request has one non-const pointer for both directions.
  auto r = make_request(operation::write, offset, data.size(), const_cast<std::byte*>(data.data()));
  r.fua = fua;
  co_await run_awaited(*this, r);
  throw_failed(r);
}

async::asio::awaitable<void> block_queue::flush() {
  auto r = make_request(operation::flush, 0, 0, nullptr);
  co_await run_awaited(*this, r);
  throw_failed(r);
}

async::asio::awaitable<void> block_queue::discard(std::uint64_t offset, std::uint64_t length,
                                                  bool secure) {
  auto r = make_request(secure ? operation::secure_discard : operation::discard, offset, length,
                        nullptr);
  co_await run_awaited(*this, r);
  throw_failed(r);
}

}  // namespace xenpv::blk
