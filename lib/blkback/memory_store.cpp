#include "blkback/memory_store.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/parse.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

#ifdef __SANITIZE_THREAD__
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace xenpv::blkback {
namespace {

/// Hides accesses to a disk's bytes from ThreadSanitizer. The threads of all rings access these
/// bytes. Concurrent requests for the same sector race, as on any disk, and ThreadSanitizer cannot
/// detect that a client orders its requests. A suppression would be too slow: each report takes
/// milliseconds, and a large request causes thousands of reports.
struct disk_access {
#ifdef __SANITIZE_THREAD__
  disk_access() noexcept {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~disk_access() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  disk_access() noexcept {}
#endif
  disk_access(const disk_access&) = delete;
  disk_access& operator=(const disk_access&) = delete;
};

constexpr std::uint64_t min_reserved = std::uint64_t{16} << 30;

std::size_t whole_pages(std::uint64_t size) {
  return static_cast<std::size_t>((size + page_size - 1) / page_size * page_size);
}

}  // namespace

memory_medium::memory_medium(std::uint64_t size)
    : reserved_(whole_pages(std::max(2 * size, min_reserved))) {
  // Reserve only address space: the kernel allocates pages when they are written and does not
  // account for them in advance.
  void* const base =
      ::mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    throw_errno(fmt::format("reserve {} for a memory disk", format_size(reserved_)));
  base_ = static_cast<std::byte*>(base);
  try {
    resize(size);
  } catch (...) {
    ::munmap(base_, reserved_);
    throw;
  }
}

memory_medium::~memory_medium() {
  ::munmap(base_, reserved_);
}

void memory_medium::resize(std::uint64_t size) {
  if (size > reserved_)
    throw failure(
        errc::limit_reached,
        fmt::format("grow a memory disk from {} to {}", format_size(size_), format_size(size)),
        fmt::format("the limit is {}; create the disk with a larger size", format_size(reserved_)));
  const auto pages = whole_pages(size);
  if (pages > 0 && ::mprotect(base_, pages, PROT_READ | PROT_WRITE) != 0)
    throw_errno(fmt::format("create a memory disk of {}", format_size(size)));
  if (size < size_) forget(size, size_ - size);
  size_ = static_cast<std::size_t>(size);
}

void memory_medium::forget(std::uint64_t offset, std::uint64_t length) noexcept {
  const disk_access access;
  const auto end = offset + length;
  const auto first = std::min(whole_pages(offset), static_cast<std::size_t>(end));
  const auto last = std::max<std::size_t>(end / page_size * page_size, first);
  std::memset(base_ + offset, 0, first - offset);
  if (last > first) ::madvise(base_ + first, last - first, MADV_DONTNEED);
  std::memset(base_ + last, 0, end - last);
}

void memory_store::move_bytes(const store_request& request) noexcept {
  const disk_access access;
  auto* at = medium_->data() + request.offset;
  switch (request.op) {
    case store_op::read:
      for (const auto& piece : request.pieces) {
        std::memcpy(piece.iov_base, at, piece.iov_len);
        at += piece.iov_len;
      }
      break;
    case store_op::write:
      for (const auto& piece : request.pieces) {
        std::memcpy(at, piece.iov_base, piece.iov_len);
        at += piece.iov_len;
      }
      break;
    case store_op::discard:
    case store_op::secure_discard:
      medium_->forget(request.offset, request.length);
      break;
    case store_op::flush:
      break;
  }
}

void memory_store::submit(store_request& request) noexcept {
  move_bytes(request);
  request.done(request, 0);
}

void null_store::submit(store_request& request) noexcept {
  if (request.op == store_op::read)
    for (const auto& piece : request.pieces)
      std::memset(piece.iov_base, 0, piece.iov_len);
  request.done(request, 0);
}

}  // namespace xenpv::blkback
