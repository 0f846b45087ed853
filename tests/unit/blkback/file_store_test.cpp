#include "blkback/file_store.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkback {
namespace {

constexpr std::uint64_t disk_size = 1 << 20;

class file_disk : public ::testing::Test {
 protected:
  file_disk() {
    std::string name = ::testing::TempDir() + "xenpv-file-XXXXXX";
    ::close(::mkstemp(name.data()));
    std::filesystem::resize_file(name, disk_size);
    path = name;
  }
  ~file_disk() override { std::filesystem::remove(path); }

  struct finished : store_request {
    int error = -1;
  };
  int run(store_op op, std::uint64_t offset, std::span<iovec> pieces, std::uint64_t length = 0) {
    finished request;
    request.op = op;
    request.offset = offset;
    request.length = length;
    for (const auto& piece : pieces)
      request.length += piece.iov_len;
    request.pieces = pieces;
    request.done = [](store_request& r, int error) noexcept {
      static_cast<finished&>(r).error = error;
    };
    file_store store(medium, ring.get_executor());
    store.submit(request);
    while (request.error == -1) {
      ring.restart();
      ring.run_for(std::chrono::milliseconds(100));
    }
    return request.error;
  }
  int transfer(store_op op, std::uint64_t offset, void* memory, std::size_t length) {
    iovec piece{memory, length};
    return run(op, offset, {&piece, 1});
  }
  [[nodiscard]] std::string content(std::uint64_t offset, std::size_t length) const {
    std::ifstream file(path, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    std::string out(length, '?');
    file.read(out.data(), static_cast<std::streamsize>(length));
    return out;
  }

  std::filesystem::path path;
  asio::io_context ring{1};
  std::shared_ptr<file_medium> medium;
};

TEST_F(file_disk, stores_aligned_and_unaligned_writes) {
  medium = std::make_shared<file_medium>(path, false);
  alignas(page_size) static std::byte pages[4 * page_size];
  std::memset(pages, 'a', sizeof pages);
  EXPECT_EQ(transfer(store_op::write, 8192, pages, sizeof pages), 0);
  std::memset(pages, 'b', sizeof pages);
  std::array pieces = {iovec{pages + 512, 512}, iovec{pages + 5000, 1024}};
  EXPECT_EQ(run(store_op::write, 8192 + 512, pieces), 0);
  EXPECT_EQ(run(store_op::flush, 0, {}), 0);
  EXPECT_EQ(content(8192, 4096),
            std::string(512, 'a') + std::string(1536, 'b') + std::string(2048, 'a'));
  std::memset(pages, 0, sizeof pages);
  EXPECT_EQ(transfer(store_op::read, 8192, pages, page_size), 0);
  EXPECT_EQ(std::memcmp(pages, content(8192, 4096).data(), page_size), 0);
  EXPECT_EQ(transfer(store_op::read, 8192 + 512, pages + 1, 1), 0);
  EXPECT_EQ(std::to_integer<char>(pages[1]), 'b');
}

TEST_F(file_disk, discard_punches_holes) {
  medium = std::make_shared<file_medium>(path, false);
  std::string bytes(64 * 1024, 'x');
  ASSERT_EQ(transfer(store_op::write, 0, bytes.data(), bytes.size()), 0);
  const int error = run(store_op::discard, 4096, {}, 32 * 1024);
  if (error == EOPNOTSUPP) GTEST_SKIP() << "this file system does not support holes";
  EXPECT_EQ(error, 0);
  EXPECT_EQ(content(4095, 2), std::string("x") + '\0');
  EXPECT_EQ(content(4096 + 32 * 1024, 1), "x");
  EXPECT_EQ(std::filesystem::file_size(path), disk_size);
  EXPECT_EQ(run(store_op::secure_discard, 0, {}, 4096), EOPNOTSUPP);
}

TEST_F(file_disk, fails_requests_beyond_the_end_of_the_file) {
  medium = std::make_shared<file_medium>(path, false);
  std::filesystem::resize_file(path, 1000);
  std::string bytes(4096, 'x');
  EXPECT_EQ(transfer(store_op::read, 0, bytes.data(), bytes.size()), EIO);
}

TEST_F(file_disk, cannot_be_written_when_it_is_read_only) {
  medium = std::make_shared<file_medium>(path, true);
  std::string bytes(512, 'x');
  EXPECT_EQ(transfer(store_op::write, 0, bytes.data(), bytes.size()), EBADF);
  EXPECT_EQ(transfer(store_op::read, 0, bytes.data(), bytes.size()), 0);
}

TEST_F(file_disk, reports_and_changes_the_file_size) {
  medium = std::make_shared<file_medium>(path, false);
  EXPECT_EQ(medium->size(), disk_size);
  medium->resize(3 * disk_size);
  EXPECT_EQ(std::filesystem::file_size(path), 3 * disk_size);
  EXPECT_EQ(medium->size(), 3 * disk_size);
}

TEST(file_medium, names_a_file_that_cannot_be_opened) {
  try {
    const file_medium medium("/nowhere/disk.img", false);
    FAIL();
  } catch (const failure& e) {
    EXPECT_STREQ(e.what(), "open /nowhere/disk.img: no such file or directory");
  }
  EXPECT_THROW(file_medium("/dev/null", false), failure);
}

}  // namespace
}  // namespace xenpv::blkback
