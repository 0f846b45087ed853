// An engine that consumes responses from the ring before and after a live migration.
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <csignal>
#include <functional>
#include <span>
#include <vector>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

/// Returns for each page of `memory` whether `act` writes to it, like the dirty-page log of a live
/// migration. Single-threaded.
std::vector<bool> written_pages(std::span<std::byte> memory, const std::function<void()>& act) {
  struct record {
    std::byte* begin = nullptr;
    std::vector<bool> pages;
  };
  static record now;
  now = {memory.data(), std::vector<bool>(memory.size() / page_size)};
  struct sigaction before {};
  struct sigaction handler {};
  handler.sa_flags = SA_SIGINFO;
  handler.sa_sigaction = [](int, siginfo_t* info, void*) {
    const auto distance = static_cast<std::byte*>(info->si_addr) - now.begin;
    const auto page = static_cast<std::size_t>(distance) / page_size;
    now.pages.at(page) = true;
    ::mprotect(now.begin + page * page_size, page_size, PROT_READ | PROT_WRITE);
  };
  ::sigaction(SIGSEGV, &handler, &before);
  ::mprotect(memory.data(), memory.size(), PROT_READ);
  act();
  ::mprotect(memory.data(), memory.size(), PROT_READ | PROT_WRITE);
  ::sigaction(SIGSEGV, &before, nullptr);
  return now.pages;
}

std::vector<blk::page_index> pages_of(loopback& disk, const blk::lease& lease) {
  std::vector<blk::page_index> out = {lease.pages().first};
  while (out.size() < lease.pages().count)
    out.push_back(disk.pool()->next(out.back()));
  return out;
}

TEST(engine_migration, responses_stay_in_the_ring_while_a_suspend_is_unresolved) {
  loopback disk({});
  test_request read(operation::read, 0, 8192);
  test_request write(operation::write, 8192, 4096, std::byte{1});
  disk.front().submit(read);
  disk.front().submit(write);
  disk.step_front(0);
  disk.step_back(0);
  disk.was_suspended = true;
  disk.step_front(0);
  EXPECT_EQ(read.answers, 0u);
  EXPECT_EQ(write.answers, 0u);
  // The suspend was only a checkpoint.
  disk.was_suspended = false;
  disk.settle();
  EXPECT_EQ(read.status, std::error_code());
  EXPECT_EQ(read.answers, 1u);
  EXPECT_EQ(write.answers, 1u);
}

TEST(engine_migration, the_guest_has_written_to_each_page_of_a_completed_read) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer handles SIGSEGV";
#endif
  // One page, several pages, more pages than a direct request can hold, and a start within a page.
  for (const auto& [offset, length] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 4096}, {4096, 16384}, {0, 128 * 1024}, {512, 8192}}) {
    for (const unsigned segments : {11u, 64u}) {
      loopback disk({.segments = segments});
      auto lease = blk::lease::try_take(disk.pool(), offset, length, 512);
      ASSERT_TRUE(lease);
      test_request read;
      read.op = operation::read;
      read.offset = offset;
      read.length = length;
      read.pages = &*lease;
      disk.front().submit(read);
      disk.step_front(0);
      disk.step_back(0);
      const auto all = pages_of(disk, *lease);
      auto* const start = disk.pool()->data(0);
      const auto pages = disk.pool()->size();
      const auto written = written_pages({start, pages * page_size}, [&] { disk.step_front(0); });
      disk.settle();
      EXPECT_EQ(read.status, std::error_code());
      for (const auto page : all)
        EXPECT_TRUE(written[page]) << offset << " " << length << " page " << page;
    }
  }
}

}  // namespace
}  // namespace xenpv::blkfront
