#include "sandbox/landlock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "confined_child.hpp"
#include "waiting_thread.hpp"

namespace xenpv::sandbox {
namespace {

/// A directory with the files inside/file and outside/file.
class landlock : public testing::Test {
 protected:
  void SetUp() override {
    const auto probe = run_in_child([] {
      require(restrict_files({{"/", file_rights::read}}).state == landlock_state::applied,
              "applied");
    });
    if (!probe.succeeded()) GTEST_SKIP() << "this kernel has no Landlock";
    std::string name = std::filesystem::temp_directory_path() / "xenpv-landlock-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    top_ = name;
    for (const auto* const folder : {"inside", "outside"}) {
      std::filesystem::create_directory(top_ / folder);
      std::ofstream(top_ / folder / "file") << "text";
    }
  }
  void TearDown() override {
    if (!top_.empty()) std::filesystem::remove_all(top_);
  }

  [[nodiscard]] std::string path(const std::string& name) const { return top_ / name; }

  std::filesystem::path top_;
};

int open_and_close(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  return file < 0 ? -1 : ::close(file);
}

TEST_F(landlock, permits_reading_inside_only) {
  const auto end = run_in_child([this] {
    const int open_before = ::open(path("outside/file").c_str(), O_RDONLY);
    const auto result = restrict_files({{path("inside"), file_rights::read}});
    require(result.abi >= 1 && result.paths == 1 && result.skipped.empty(), describe(result));
    require(open_and_close(path("inside/file"), O_RDONLY) == 0, "a file inside can be read");
    require(open_and_close(path("inside"), O_RDONLY | O_DIRECTORY) == 0, "and the directory");
    require_error(open_and_close(path("outside/file"), O_RDONLY), EACCES, "open outside");
    require_error(open_and_close("/etc/passwd", O_RDONLY), EACCES, "open(/etc/passwd)");
    require_error(open_and_close(path("inside/file"), O_WRONLY), EACCES, "write inside");
    require_error(open_and_close(path("inside/new"), O_WRONLY | O_CREAT), EACCES, "create inside");
    char byte = 0;
    require(::read(open_before, &byte, 1) == 1, "an open descriptor keeps its rights");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST_F(landlock, permits_writing_and_creating_separately) {
  const auto end = run_in_child([this] {
    const auto all = file_rights::read | file_rights::write | file_rights::create;
    static_cast<void>(
        restrict_files({{path("inside"), all}, {path("outside/file"), file_rights::write}}));
    require(open_and_close(path("inside/new"), O_WRONLY | O_CREAT) == 0, "create inside");
    require(::rename(path("inside/new").c_str(), path("inside/renamed").c_str()) == 0, "rename");
    require(::unlink(path("inside/renamed").c_str()) == 0, "remove");
    require(::mkdir(path("inside/folder").c_str(), 0700) == 0, "mkdir");
    require(open_and_close(path("outside/file"), O_WRONLY) == 0, "write the listed file");
    require_error(open_and_close(path("outside/file"), O_RDONLY), EACCES, "read the listed file");
    require_error(::unlink(path("outside/file").c_str()), EACCES, "remove the listed file");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST_F(landlock, forbids_execution_unless_permitted) {
  const auto end = run_in_child([] {
    static_cast<void>(restrict_files({{"/", file_rights::read}}));
    require_error(::execl("/bin/true", "true", nullptr), EACCES, "execve");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  const auto permitted = run_in_child([] {
    static_cast<void>(restrict_files({{"/", file_rights::read | file_rights::execute}}));
    ::execl("/bin/true", "true", nullptr);
    require(false, "execve works");
  });
  EXPECT_TRUE(permitted.succeeded()) << permitted.messages;
}

TEST_F(landlock, applies_to_all_threads) {
  const auto end = run_in_child([this] {
    waiting_thread other(
        [this] { require_error(open_and_close(path("outside/file"), O_RDONLY), EACCES, "open"); },
        signal_mask::all);
    static_cast<void>(restrict_files({{path("inside"), file_rights::read}}));
    other.finish();
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST_F(landlock, skips_paths_that_do_not_exist) {
  const auto end = run_in_child([this] {
    const auto result =
        restrict_files({{path("missing")}, {path("inside/file/below")}, {path("inside")}});
    require(result.skipped == std::vector<std::string>{path("missing"), path("inside/file/below")},
            "both are skipped");
    require(result.paths == 1, "one is in force");
    require(describe(result) == "Landlock version " + std::to_string(result.abi) + ": 1 path",
            describe(result));
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST_F(landlock, forbids_tcp_where_the_kernel_can) {
  const auto end = run_in_child([] {
    const auto result = restrict_files({}, tcp_rights::none);
    require(result.restricts_tcp == (result.abi >= 4), "Linux 6.7 restricts TCP");
    if (!result.restricts_tcp) return;
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(9);
    const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
    require_error(::connect(socket, raw, sizeof address), EACCES, "connect");
    require_error(::bind(socket, raw, sizeof address), EACCES, "bind");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(landlock_result, is_described) {
  landlock_result result;
  EXPECT_EQ(describe(result), "Landlock is not supported by this kernel");
  result.state = landlock_state::disabled;
  EXPECT_EQ(describe(result), "Landlock is disabled (kernel parameter lsm=)");
  result.state = landlock_state::applied;
  result.abi = 4;
  result.paths = 3;
  result.restricts_tcp = true;
  EXPECT_EQ(describe(result), "Landlock version 4: 3 paths, no new TCP connections");
}

}  // namespace
}  // namespace xenpv::sandbox
