#include "base/output_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#include "xenpv/base/error.hpp"

namespace xenpv {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class output_file : public testing::Test {
 protected:
  output_file() {
    auto name = (fs::temp_directory_path() / "xenpv-output-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw_errno("create " + name);
    folder_ = name;
  }
  ~output_file() override { fs::remove_all(folder_); }

  [[nodiscard]] std::string path(std::string_view name) const { return folder_ / name; }
  void write(const std::string& to, std::string_view content,
             output_access access = output_access::by_umask) {
    write_output(to, content, access, printed_);
  }
  static std::string read(const std::string& from) {
    std::ifstream file(from, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static unsigned mode_of(const std::string& name) {
    struct stat status {};
    EXPECT_EQ(::stat(name.c_str(), &status), 0);
    return status.st_mode & 07777;
  }
  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  }
  std::string error_of(const std::string& to) {
    try {
      write(to, "new");
    } catch (const failure& problem) {
      return problem.what();
    }
    return {};
  }

  fs::path folder_;
  std::ostringstream printed_;
};

TEST_F(output_file, writes_a_dash_to_stdout) {
  write("-", "page");
  EXPECT_EQ(printed_.str(), "page");
  EXPECT_FALSE(fs::exists("-"));
}

TEST_F(output_file, replaces_a_regular_file_atomically) {
  write(path("a"), "old");
  std::ifstream reader(path("a"));
  write(path("a"), "newer");
  EXPECT_EQ(read(path("a")), "newer");
  // A reader that has the old file open continues to see all of it.
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "old");
  EXPECT_EQ(files(), 1);
}

TEST_F(output_file, keeps_a_symbolic_link_and_writes_to_its_target) {
  write(path("target"), "old and longer");
  fs::create_symlink("target", path("link"));
  write(path("link"), "new");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read(path("target")), "new");
  fs::create_symlink("none", path("dangling"));
  write(path("dangling"), "new");
  EXPECT_TRUE(fs::is_symlink(path("dangling")));
  EXPECT_EQ(read(path("none")), "new");
}

TEST_F(output_file, writes_through_a_fifo) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  std::string received;
  std::thread reader([&] { received = read(path("fifo")); });
  write(path("fifo"), "page");
  reader.join();
  EXPECT_EQ(received, "page");
  EXPECT_TRUE(fs::is_fifo(path("fifo")));
}

TEST_F(output_file, reports_the_error_of_a_device_and_keeps_it) {
  EXPECT_THAT(error_of("/dev/full"), HasSubstr("write /dev/full: no space left on device"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  EXPECT_THAT(error_of("/dev/null"), IsEmpty());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(output_file, reports_a_directory_and_a_missing_one) {
  EXPECT_THAT(error_of(folder_), HasSubstr("is a directory"));
  EXPECT_THAT(error_of(path("none/page")), HasSubstr("no such file or directory"));
  EXPECT_EQ(files(), 0);
}

TEST_F(output_file, makes_metrics_readable_for_everyone_and_keeps_other_permissions) {
  const auto mask = ::umask(077);
  write(path("page"), "1");
  write(path("metrics"), "1", output_access::everyone);
  ::chmod(path("page").c_str(), 0640);
  write(path("page"), "2");
  ::chmod(path("metrics").c_str(), 0600);
  write(path("metrics"), "2", output_access::everyone);
  write(path("private"), "1");
  ::umask(mask);
  EXPECT_EQ(mode_of(path("page")), 0640U);
  EXPECT_EQ(mode_of(path("metrics")), 0644U);
  EXPECT_EQ(mode_of(path("private")), 0600U);
}

}  // namespace
}  // namespace xenpv
