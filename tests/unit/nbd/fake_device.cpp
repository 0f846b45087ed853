#include "fake_device.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>

#include "xenpv/async/cpu_set.hpp"

namespace xenpv::nbd::test {
namespace {

std::string describe(const blk::request& r) {
  if (r.op == blk::operation::flush) return "flush";
  auto out = fmt::format("{} {}+{}", to_string(r.op), r.offset, r.length);
  if (r.fua) out += " fua";
  if (r.pages != nullptr) out += " pages";
  if (r.memory != nullptr) out += " memory";
  return out;
}

}  // namespace

std::vector<unsigned> two_cpus() {
  auto cpus = async::allowed_cpus();
  cpus.resize(2, cpus.front());
  return cpus;
}

fake_queue::fake_queue(asio::any_io_executor executor, const fake_options& options,
                       std::vector<std::byte>& bytes)
    : answers(options.answers), executor_(std::move(executor)), bytes_(bytes) {
  shape_.size = options.size;
  shape_.can_flush = options.can_flush;
  shape_.can_discard = options.can_discard;
  auto memory = std::make_shared<std::vector<std::byte>>(options.pages * page_size);
  pages_ = std::make_shared<blk::page_pool>(*memory, memory);
}

fake_queue::~fake_queue() {
  EXPECT_TRUE(waiting.empty() && batch_.empty()) << "the device still has requests";
  EXPECT_EQ(pages_->free(), pages_->size()) << "pages were not returned";
}

void fake_queue::submit(blk::request& r) {
  log.push_back(describe(r));
  ++submitted;
  batch_.push_back(&r);
  if (async::event_batch::add(end_of_batch_) || std::exchange(end_is_posted_, true)) return;
  asio::post(executor_, [this] {
    end_is_posted_ = false;
    end_batch();
  });
}

void fake_queue::commit() {
  end_batch();
  if (answers_in_commit) answer_all();
}

void fake_queue::end_batch() {
  if (batch_.empty()) return;
  batches.push_back(batch_.size());
  waiting.insert(waiting.end(), batch_.begin(), batch_.end());
  batch_.clear();
  most_waiting = std::max(most_waiting, waiting.size());
  // Like a real device, does not complete requests within submit(), and rarely within commit().
  if (answers) asio::post(executor_, [this] { answer_all(); });
}

void fake_queue::answer(std::size_t position) {
  auto& r = *waiting.at(position);
  waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(position));
  r.status = fails ? fails(r) : std::error_code{};
  if (!r.status) carry_out(r);
  r.done(r);
}

void fake_queue::answer_all() {
  while (!waiting.empty() || !batch_.empty()) {
    end_batch();
    answer();
  }
}

void fake_queue::carry_out(blk::request& r) {
  const bool reads = r.op == blk::operation::read;
  if (!reads && r.op != blk::operation::write) return;
  ASSERT_LE(r.offset + r.length, bytes_.size());
  auto* const at = bytes_.data() + r.offset;
  const std::span here(at, static_cast<std::size_t>(r.length));
  if (r.pages != nullptr) {
    ASSERT_EQ(r.pages->length(), r.length) << "not the lease of this request";
    reads ? r.pages->copy_from(0, here) : r.pages->copy_to(0, here);
  } else {
    ASSERT_NE(r.memory, nullptr);
    std::memcpy(reads ? r.memory : at, reads ? at : r.memory, here.size());
  }
}

fake_device::fake_device(const std::vector<asio::any_io_executor>& executors,
                         const fake_options& options)
    : bytes(options.size) {
  for (const auto& executor : executors)
    queues_.push_back(std::make_unique<fake_queue>(executor, options, bytes));
}

}  // namespace xenpv::nbd::test
