#include "sim/block_device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <filesystem>

extern char** environ;

namespace xenpv::blkfront {
namespace {

std::string own_path() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

}  // namespace

holder::holder(const std::string& device, bool with_custodian) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const auto program = own_path();
  auto mode = std::string(with_custodian ? "--hold-guarded" : "--hold");
  auto name = device;
  std::array<char*, 4> words = {const_cast<char*>(program.c_str()), mode.data(), name.data(),
                                nullptr};
  const int failed =
      ::posix_spawn(&process_, program.c_str(), &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  char ready = 0;
  const auto got = failed == 0 ? ::read(ends[0], &ready, 1) : -1;
  ::close(ends[0]);
  if (got != 1) throw failure(errc::lost_connection, "start a holder of " + device);
}

holder::~holder() {
  kill();
}

void holder::kill() {
  if (process_ <= 1) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
}

int hold(const std::string& device, bool with_custodian) {
  async::runtime_options how;
  how.with_custodian = with_custodian;
  async::runtime on(std::move(how));
  on.run([&](async::runtime& self) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(self, device);
    std::array<std::byte, 512> sector{};
    co_await disk->write(0, sector);
    [[maybe_unused]] const auto said = ::write(STDOUT_FILENO, "x", 1);
    asio::steady_timer for_ever(self.control(), std::chrono::hours(1));
    co_await for_ever.async_wait(asio::use_awaitable);
  });
  return 0;
}

void toolstack(const std::string& words) {
  const auto simulator = std::filesystem::path(own_path()).parent_path() / "xenpv-sim";
  const auto host = std::filesystem::path(std::getenv("XENPV_SIM_DIR")).parent_path();
  // The program is not one of the domain's: it talks to the host's admin socket.
  const auto command = fmt::format("env -u LD_PRELOAD -u XENSTORED_PATH '{}' disk --dir '{}' {}",
                                   simulator.string(), host.string(), words);
  if (std::system(command.c_str()) != 0)
    throw failure(errc::not_available, fmt::format("run `{}`", command));
}

}  // namespace xenpv::blkfront

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode == "--hold" || mode == "--hold-guarded")
    return xenpv::blkfront::hold(argv[2], mode == "--hold-guarded");
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
