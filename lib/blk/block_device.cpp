#include "xenpv/blk/block_device.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "xenpv/base/error.hpp"

namespace xenpv::blk {
namespace {

/// Runs `r` and throws its error if it fails.
asio::awaitable<void> run_or_throw(block_queue& queue, request r) {
  co_await run(queue, r);
  if (!r.status) co_return;
  if (r.op == operation::flush) throw failure(r.status, "flush");
  throw failure(r.status, fmt::format("{} {} bytes at {}", to_string(r.op), r.length, r.offset));
}

}  // namespace

namespace detail {

request make_request(operation op, std::uint64_t offset, std::uint64_t length,
                     const std::byte* memory) noexcept {
  request r;
  r.op = op;
  r.offset = offset;
  r.length = length;
  // A write only reads the memory, but a request has one non-const pointer for both directions.
  r.memory = const_cast<std::byte*>(memory);
  return r;
}

initiate_submit::executor_type initiate_submit::get_executor() const noexcept {
  return queue_->get_executor();
}

}  // namespace detail

asio::awaitable<void> run(block_queue& queue, request& r) {
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  static_cast<void>(co_await queue.async_submit(r, token));
}

asio::awaitable<void> block_queue::read(std::uint64_t offset, std::span<std::byte> buffer) {
  return run_or_throw(*this,
                      detail::make_request(operation::read, offset, buffer.size(), buffer.data()));
}

asio::awaitable<void> block_queue::write(std::uint64_t offset, std::span<const std::byte> data,
                                         bool fua) {
  auto r = detail::make_request(operation::write, offset, data.size(), data.data());
  r.fua = fua;
  return run_or_throw(*this, r);
}

asio::awaitable<void> block_queue::flush() {
  return run_or_throw(*this, detail::make_request(operation::flush, 0, 0));
}

asio::awaitable<void> block_queue::discard(std::uint64_t offset, std::uint64_t length,
                                           bool secure) {
  const auto op = secure ? operation::secure_discard : operation::discard;
  return run_or_throw(*this, detail::make_request(op, offset, length));
}

}  // namespace xenpv::blk
