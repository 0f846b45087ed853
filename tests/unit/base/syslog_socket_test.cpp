#include "base/syslog_socket.hpp"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>

namespace xenpv {
namespace {

using std::chrono::milliseconds;
using testing::EndsWith;
using testing::MatchesRegex;

constexpr milliseconds limit(10);

/// A log daemon whose socket is in a temporary directory.
class daemon_socket {
 public:
  daemon_socket() {
    std::string name = "/tmp/xenpv-syslog-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    listen();
  }
  ~daemon_socket() { std::filesystem::remove_all(directory_); }
  daemon_socket(const daemon_socket&) = delete;
  daemon_socket& operator=(const daemon_socket&) = delete;

  [[nodiscard]] std::string path() const { return directory_ + "/log"; }
  void restart() {
    socket_.reset();
    ::unlink(path().c_str());
    listen();
  }
  /// Returns the next message, or an empty string if there is none.
  std::string read() {
    std::array<char, 4096> bytes;
    const auto size = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return {bytes.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
  }

 private:
  void listen() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
    socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
  }

  std::string directory_;
  unique_fd socket_;
};

TEST(syslog_socket, sends_messages_in_the_format_of_syslog) {
  daemon_socket daemon;
  syslog_socket log("xenpv-test", daemon.path());
  log.send(LOG_WARNING, "the disk is slow", limit);
  EXPECT_THAT(daemon.read(),
              MatchesRegex("<28>[A-Z][a-z][a-z] [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} "
                           "xenpv-test\\[" +
                           std::to_string(::getpid()) + "\\]: the disk is slow"));
}

TEST(syslog_socket, drops_and_counts_messages_that_the_daemon_does_not_read) {
  daemon_socket daemon;
  syslog_socket log("xenpv-test", daemon.path());
  for (int i = 0; i < 1'000'000 && log.dropped() < 3; ++i)
    log.send(LOG_INFO, "message", limit);
  ASSERT_EQ(log.dropped(), 3U);
  while (!daemon.read().empty()) {
  }
  log.send(LOG_INFO, "the next message", limit);
  EXPECT_THAT(daemon.read(), EndsWith(": 3 messages dropped: the log daemon did not read"));
  EXPECT_THAT(daemon.read(), EndsWith(": the next message"));
  EXPECT_EQ(log.dropped(), 0U);
}

TEST(syslog_socket, reconnects_to_a_restarted_daemon) {
  daemon_socket daemon;
  syslog_socket log("xenpv-test", daemon.path());
  log.send(LOG_INFO, "before", limit);
  daemon.restart();
  log.send(LOG_INFO, "after", limit);
  EXPECT_THAT(daemon.read(), EndsWith(": after"));
}

TEST(syslog_socket, counts_messages_without_a_daemon) {
  syslog_socket log("xenpv-test", "/nowhere/log");
  log.send(LOG_INFO, "message", limit);
  EXPECT_EQ(log.dropped(), 1U);
}

}  // namespace
}  // namespace xenpv
