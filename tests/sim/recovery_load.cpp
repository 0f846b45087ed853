#include "sim/recovery_load.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

namespace xenpv::blkfront {
namespace {

/// A request that counts its answers, and wakes whoever waits for the last of a few.
struct counted_request : blk::request {
  unsigned answers = 0;
  asio::steady_timer* all_answered = nullptr;
  unsigned* left = nullptr;
};

void count_answer(blk::request& r) {
  auto& self = static_cast<counted_request&>(r);
  ++self.answers;
  if (--*self.left == 0) self.all_answered->cancel();
}

/// Submits them together and returns when all are answered.
asio::awaitable<void> run_together(blk::block_queue& queue, std::span<counted_request> requests) {
  asio::steady_timer answered(queue.executor(), std::chrono::steady_clock::time_point::max());
  auto left = static_cast<unsigned>(requests.size());
  for (auto& each : requests) {
    each.all_answered = &answered;
    each.left = &left;
    each.done = count_answer;
    queue.submit(each);
  }
  while (left > 0) {
    try {
      co_await answered.async_wait(asio::use_awaitable);
    } catch (const boost::system::system_error&) {
      // The last answer's cancellation.
    }
  }
  for (const auto& each : requests)
    if (each.status)
      throw failure(each.status, fmt::format("{} at {}", to_string(each.op), each.offset));
}

}  // namespace

void recovery_load::fill(std::span<std::byte> bytes, std::uint32_t block,
                         std::uint32_t version) const {
  const auto word = stamp(block, version);
  for (std::size_t at = 0; at + sizeof word <= bytes.size(); at += sizeof word)
    std::memcpy(bytes.data() + at, &word, sizeof word);
}

void recovery_load::check(std::span<const std::byte> bytes, std::uint32_t block, const char* when) {
  const auto expected = versions_[block] == 0 ? 0 : stamp(block, versions_[block]);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof expected) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    // The last worker of this region may have been another seed's.
    if (word == expected || versions_[block] == 0) continue;
    problems_.push_back(fmt::format("region {}, block {}, byte {}: {:#x} in place of {:#x} ({})",
                                    number_, block, at, word, expected, when));
    stopped_ = true;
    return;
  }
}

asio::awaitable<void> recovery_load::write_one() {
  const auto block = pick(blocks);
  std::array<std::byte, block_size> bytes;
  fill(bytes, block, versions_[block] + 1);
  co_await queue_.write(offset_of(block), bytes, queue_.shape().can_flush && pick(8) == 0);
  ++versions_[block];
}

asio::awaitable<void> recovery_load::write_leased() {
  const auto block = pick(blocks);
  auto pages = queue_.try_lease(offset_of(block), block_size);
  if (!pages) co_return;
  std::array<std::byte, block_size> bytes;
  fill(bytes, block, versions_[block] + 1);
  pages->copy_from(0, bytes);
  std::array<counted_request, 1> one;
  one[0].op = blk::operation::write;
  one[0].offset = offset_of(block);
  one[0].length = block_size;
  one[0].pages = &*pages;
  co_await run_together(queue_, one);
  ++versions_[block];
  // And back the same way.
  one[0].op = blk::operation::read;
  co_await run_together(queue_, one);
  pages->copy_to(0, bytes);
  check(bytes, block, "read into a lease");
}

/// Larger than a request: in pieces.
asio::awaitable<void> recovery_load::write_all() {
  std::vector<std::byte> bytes(region_size);
  for (std::uint32_t block = 0; block < blocks; ++block)
    fill(std::span(bytes).subspan(std::size_t{block} * block_size, block_size), block,
         versions_[block] + 1);
  co_await queue_.write(offset_of(0), bytes);
  for (auto& version : versions_)
    ++version;
}

/// Two writes to the same block, in flight together: the later one must be what stays.
asio::awaitable<void> recovery_load::write_twice() {
  const auto block = pick(blocks);
  std::array<std::array<std::byte, block_size>, 2> bytes;
  std::array<counted_request, 2> both;
  for (std::uint32_t i = 0; i < 2; ++i) {
    fill(bytes[i], block, versions_[block] + 1 + i);
    both[i].op = blk::operation::write;
    both[i].offset = offset_of(block);
    both[i].length = block_size;
    both[i].memory = bytes[i].data();
  }
  co_await run_together(queue_, both);
  versions_[block] += 2;
  if (both[0].answers != 1 || both[1].answers != 1)
    problems_.push_back(fmt::format("answered {} and {} times", both[0].answers, both[1].answers));
}

/// Read, modify, write: the rest of the sectors stays.
asio::awaitable<void> recovery_load::write_odd() {
  const auto block = pick(blocks);
  if (versions_[block] == 0) co_return;
  const auto begin = 8 * pick(block_size / 16);
  const auto length = 8 * (1 + pick(block_size / 16));
  std::vector<std::byte> bytes(length);
  fill(bytes, block, versions_[block]);
  co_await queue_.write(offset_of(block) + begin, bytes);
}

asio::awaitable<void> recovery_load::read_one() {
  const auto block = pick(blocks);
  std::array<std::byte, block_size> bytes;
  co_await queue_.read(offset_of(block), bytes);
  check(bytes, block, "read");
}

asio::awaitable<void> recovery_load::run() {
  while (!stopped_) {
    ++operations_;
    switch (pick(12)) {
      case 0:
        co_await write_all();
        break;
      case 1:
      case 2:
        co_await write_twice();
        break;
      case 3:
      case 4:
        co_await write_leased();
        break;
      case 5:
        co_await write_odd();
        break;
      case 6:
        if (queue_.shape().can_flush) co_await queue_.flush();
        break;
      case 7:
      case 8:
      case 9:
        co_await read_one();
        break;
      default:
        co_await write_one();
        break;
    }
  }
}

asio::awaitable<void> recovery_load::verify() {
  for (std::uint32_t block = 0; block < blocks; ++block) {
    std::array<std::byte, block_size> bytes;
    co_await queue_.read(offset_of(block), bytes);
    check(bytes, block, "at the end");
  }
}

}  // namespace xenpv::blkfront
