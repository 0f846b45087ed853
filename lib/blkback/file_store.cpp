#include "blkback/file_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <climits>
#include <vector>

#include "base/parse.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkback {
namespace {

/// Enough threads to keep several requests queued at the disk, but so few that they are cheap while
/// idle.
constexpr std::size_t thread_count = 4;

struct stat status_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_errno(fmt::format("stat {}", path));
  return status;
}

/// Returns true if every file system and device that supports O_DIRECT accepts the request's
/// alignment.
bool is_well_aligned(const store_request& request) {
  auto bits = request.offset;
  for (const auto& piece : request.pieces)
    bits |= reinterpret_cast<std::uintptr_t>(piece.iov_base) | piece.iov_len;
  return bits % page_size == 0;
}

/// Removes `done` bytes from the front of `pieces`.
void drop_front(std::span<iovec>& pieces, std::size_t done) {
  while (!pieces.empty() && done >= pieces.front().iov_len) {
    done -= pieces.front().iov_len;
    pieces = pieces.subspan(1);
  }
  if (pieces.empty()) return;
  auto& first = pieces.front();
  first.iov_base = static_cast<std::byte*>(first.iov_base) + done;
  first.iov_len -= done;
}

/// Executes a read or write completely. Returns 0 (success) or an errno.
int transfer_all(int fd, const store_request& request) {
  std::vector<iovec> copy(request.pieces.begin(), request.pieces.end());
  std::span<iovec> left(copy);
  auto offset = static_cast<off_t>(request.offset);
  drop_front(left, 0);
  while (!left.empty()) {
    const auto count = static_cast<int>(std::min<std::size_t>(left.size(), IOV_MAX));
    const auto done = request.op == store_op::read ? ::preadv(fd, left.data(), count, offset)
                                                   : ::pwritev(fd, left.data(), count, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    // The file was truncated and is now shorter than the disk.
    if (done == 0) return EIO;
    offset += done;
    drop_front(left, static_cast<std::size_t>(done));
  }
  return 0;
}

}  // namespace

file_medium::file_medium(std::string path, bool read_only)
    : path_(std::move(path)), threads_(thread_count), flushes_(threads_.get_executor()) {
  const int access = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  cached_.reset(::open(path_.c_str(), access));
  if (!cached_) throw_errno(fmt::format("open {}", path_));
  const auto status = status_of(cached_.get(), path_);
  is_block_device_ = S_ISBLK(status.st_mode);
  if (!is_block_device_ && !S_ISREG(status.st_mode))
    throw failure(errc::invalid_argument, fmt::format("open {}", path_),
                  "expected a file or a block device");
  direct_.reset(::open(path_.c_str(), access | O_DIRECT));
}

file_medium::~file_medium() {
  threads_.join();
}

std::uint64_t file_medium::size() const {
  if (!is_block_device_) return static_cast<std::uint64_t>(status_of(cached_.get(), path_).st_size);
  std::uint64_t size = 0;
  if (::ioctl(cached_.get(), BLKGETSIZE64, &size) != 0)
    throw_errno(fmt::format("get the size of {}", path_));
  return size;
}

void file_medium::resize(std::uint64_t new_size) {
  const auto action = fmt::format("change the size of {} to {}", path_, format_size(new_size));
  if (is_block_device_) {
    if (const auto now = size(); now != new_size)
      throw failure(errc::invalid_argument, action,
                    fmt::format("it is {}; resize the device first", format_size(now)));
    return;
  }
  if (::ftruncate(cached_.get(), static_cast<off_t>(new_size)) != 0) throw_errno(action);
}

std::string file_medium::device() const {
  const auto status = status_of(cached_.get(), path_);
  const auto device = is_block_device_ ? status.st_rdev : status.st_dev;
  return fmt::format("{:x}:{:x}", major(device), minor(device));
}

void file_medium::start(store_request& request, const asio::any_io_executor& executor) {
  auto work = [this, &request, executor] {
    const int error = execute(request);
    asio::post(executor, [&request, error] { request.done(request, error); });
  };
  if (request.op == store_op::flush)
    asio::post(flushes_, std::move(work));
  else
    asio::post(threads_, std::move(work));
}

int file_medium::execute(const store_request& request) {
  switch (request.op) {
    case store_op::read:
    case store_op::write:
      return transfer(request);
    case store_op::flush:
      return flush();
    case store_op::discard:
      return discard(request);
    case store_op::secure_discard:
      break;
  }
  return EOPNOTSUPP;
}

int file_medium::transfer(const store_request& request) const {
  if (direct_ && is_well_aligned(request)) {
    const int error = transfer_all(direct_.get(), request);
    // Some devices require a larger alignment, and some pages cannot be used for direct I/O: fall
    // back to the page cache.
    if (error != EINVAL && error != EFAULT) return error;
  }
  return transfer_all(cached_.get(), request);
}

int file_medium::flush() {
  if (flush_error_ == 0 && ::fdatasync(cached_.get()) != 0) flush_error_ = errno;
  return flush_error_;
}

int file_medium::discard(const store_request& request) const {
  int failed = 0;
  if (is_block_device_) {
    std::uint64_t range[2] = {request.offset, request.length};
    failed = ::ioctl(cached_.get(), BLKDISCARD, range);
  } else {
    failed = ::fallocate(cached_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(request.offset), static_cast<off_t>(request.length));
  }
  return failed == 0 ? 0 : errno;
}

}  // namespace xenpv::blkback
