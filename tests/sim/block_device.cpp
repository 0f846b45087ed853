#include "sim/block_device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <sstream>
#include <string_view>

#include "async/nursery.hpp"

extern char** environ;

namespace xenpv::blkfront {
namespace {

constexpr std::size_t piece_size = 1 << 20;

std::string own_path() {
  return std::filesystem::read_symlink("/proc/self/exe").string();
}

/// Starts this program again as a child process. Returns a descriptor for reading the child's
/// stdout.
int spawn_self(const std::vector<std::string>& arguments, pid_t& process) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const auto program = own_path();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int failed =
      ::posix_spawn(&process, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (failed == 0) return ends[0];
  ::close(ends[0]);
  throw_errno(failed, fmt::format("start {} again", program));
}

}  // namespace

holder::holder(const std::string& device, bool with_custodian, bool busy) {
  const auto reports = spawn_self(
      {with_custodian ? "--hold-guarded" : "--hold", device, busy ? "busy" : "idle"}, process_);
  char ready = 0;
  const auto got = ::read(reports, &ready, 1);
  ::close(reports);
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

namespace {

/// Never returns: submits one write after another.
asio::awaitable<void> write_for_ever(frontend& disk, std::uint64_t at) {
  const std::vector<std::byte> bytes(64 * 1024, std::byte{0x5A});
  for (;;)
    co_await disk.write(at, bytes);
}

}  // namespace

int hold(const std::string& device, bool with_custodian, bool busy) {
  async::runtime_options settings;
  settings.with_custodian = with_custodian;
  async::runtime runtime(std::move(settings));
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(self, device);
    std::array<std::byte, 512> sector{};
    co_await disk->write(0, sector);
    async::nursery load(self.control());
    for (std::uint64_t i = 0; busy && i < 16; ++i)
      load.spawn(write_for_ever(*disk, i << 16));
    // The load submits its first writes before this write.
    co_await disk->write(0, sector);
    [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, "x", 1);
    asio::steady_timer for_ever(self.control(), std::chrono::hours(1));
    co_await for_ever.async_wait(asio::use_awaitable);
  });
  return 0;
}

flushing_writer::flushing_writer(const std::string& device, unsigned seed)
    : reports_(spawn_self({"--write-and-flush", device, fmt::format("{}", seed)}, process_)) {}

flushing_writer::~flushing_writer() {
  kill();
  ::close(reports_);
}

void flushing_writer::kill() {
  if (process_ <= 1) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
}

std::array<std::uint32_t, flushing_writer::blocks> flushing_writer::flushed() {
  std::array<std::uint32_t, blocks> out{};
  std::array<std::uint32_t, 2> report{};
  while (::read(reports_, report.data(), sizeof report) == sizeof report)
    out[report[0]] = report[1];
  return out;
}

int write_and_flush(const std::string& device, unsigned seed) {
  async::runtime runtime;
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(self, device);
    std::mt19937 random(seed);
    std::array<std::uint32_t, flushing_writer::blocks> versions{};
    std::vector<std::byte> bytes(4096);
    for (;;) {
      std::array<std::array<std::uint32_t, 2>, 4> reports;
      for (auto& report : reports) {
        const auto block = static_cast<std::uint32_t>(random() % versions.size());
        const auto word = ++versions[block] << 8 | (seed & 0xFF);
        for (std::size_t at = 0; at < bytes.size(); at += sizeof word)
          std::memcpy(bytes.data() + at, &word, sizeof word);
        co_await disk->write(std::uint64_t{block} * 4096, bytes);
        report = {block, versions[block]};
      }
      co_await disk->flush();
      [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, reports.data(), sizeof reports);
    }
  });
  return 0;
}

int write_disk(const std::string& device, const std::string& file) {
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, device);
    std::ifstream input(file, std::ios::binary);
    std::vector<char> piece(piece_size);
    for (std::uint64_t at = 0; input.read(piece.data(), piece_size), input.gcount() > 0;) {
      const auto count = static_cast<std::size_t>(input.gcount());
      co_await disk->write(at, std::as_bytes(std::span(piece).first(count)));
      at += count;
    }
    if (disk->shape().can_flush) co_await disk->flush();
    co_await disk->close();
  });
  return 0;
}

int read_disk(const std::string& device, const std::string& file, std::uint64_t bytes) {
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, device);
    std::ofstream output(file, std::ios::binary);
    std::vector<char> piece(piece_size);
    for (std::uint64_t at = 0; at < bytes;) {
      const auto count = std::min<std::uint64_t>(bytes - at, piece_size);
      const auto buffer = std::span(piece).first(static_cast<std::size_t>(count));
      co_await disk->read(at, std::as_writable_bytes(buffer));
      output.write(buffer.data(), static_cast<std::streamsize>(count));
      at += count;
    }
    co_await disk->close();
    if (!output.flush()) throw_errno("write " + file);
  });
  return 0;
}

bool is_simulated() {
  return std::getenv("XENPV_TEST_DISKS") == nullptr;
}

std::vector<disk_under_test> disks_under_test() {
  if (is_simulated())
    return {{"linux_512", "device/vbd/51728"},
            {"linux_4096", "device/vbd/51744"},
            {"qemu_512", "device/vbd/51760"},
            {"qemu_4096", "device/vbd/51776"},
            {"tapdisk_512", "device/vbd/51792"}};
  std::vector<disk_under_test> out;
  std::istringstream words(std::getenv("XENPV_TEST_DISKS"));
  for (std::string word; std::getline(words, word, ',');) {
    const auto middle = word.find('=');
    out.push_back({word.substr(0, middle), word.substr(middle + 1)});
  }
  return out;
}

void toolstack(const std::string& arguments) {
  if (const char* const program = std::getenv("XENPV_TEST_TOOLSTACK")) {
    const auto command = fmt::format("'{}' {}", program, arguments);
    if (std::system(command.c_str()) != 0)
      throw failure(errc::not_available, fmt::format("run `{}`", command));
    return;
  }
  const auto simulator = std::filesystem::path(own_path()).parent_path() / "xenpv-sim";
  const auto host = std::filesystem::path(std::getenv("XENPV_SIM_DIR")).parent_path();
  // Run the command outside the domain, because it connects to the host's admin socket.
  const auto command = fmt::format("env -u LD_PRELOAD -u XENSTORED_PATH '{}' disk --dir '{}' {}",
                                   simulator.string(), host.string(), arguments);
  if (std::system(command.c_str()) != 0)
    throw failure(errc::not_available, fmt::format("run `{}`", command));
}

}  // namespace xenpv::blkfront

int main(int argc, char** argv) {
  using namespace xenpv::blkfront;
  const std::string mode = argc > 2 ? argv[1] : "";
  if ((mode == "--hold" || mode == "--hold-guarded") && argc == 4)
    return hold(argv[2], mode == "--hold-guarded", argv[3] == std::string_view("busy"));
  if (mode == "--write-and-flush" && argc == 4)
    return write_and_flush(argv[2], static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)));
  if (mode == "--write" && argc == 4) return write_disk(argv[2], argv[3]);
  if (mode == "--read" && argc == 5)
    return read_disk(argv[2], argv[3], std::strtoull(argv[4], nullptr, 10));
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
