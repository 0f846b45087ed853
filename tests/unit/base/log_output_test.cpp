#include "base/log_output.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/log_queue.hpp"
#include "base/pipe.hpp"

namespace xenpv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::StartsWith;

/// Replaces stderr with a small pipe, which is full before anything is written to it. Nobody reads
/// it except read_line().
class full_stderr {
 public:
  full_stderr() : before_(unique_fd::duplicate(STDERR_FILENO)), pipe_(make_pipe()) {
    ::fcntl(pipe_.writer.get(), F_SETPIPE_SZ, 8192);
    const auto size = static_cast<std::size_t>(::fcntl(pipe_.writer.get(), F_GETPIPE_SZ));
    const std::string filling(size - 1, 'x');
    EXPECT_EQ(::write(pipe_.writer.get(), (filling + "\n").data(), size),
              static_cast<ssize_t>(size));
    ::dup2(pipe_.writer.get(), STDERR_FILENO);
    set_up_log("xenpv-test");
  }
  ~full_stderr() { ::dup2(before_.get(), STDERR_FILENO); }
  full_stderr(const full_stderr&) = delete;
  full_stderr& operator=(const full_stderr&) = delete;

  /// Reads the next line without its newline. Returns an empty string if none arrives in time.
  std::string read_line() {
    for (;;) {
      if (const auto end = buffer_.find('\n'); end != std::string::npos) {
        auto line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      pollfd entry{.fd = pipe_.reader.get(), .events = POLLIN, .revents = 0};
      if (::poll(&entry, 1, 10'000) != 1) return {};
      std::array<char, 4096> bytes;
      const auto count = ::read(pipe_.reader.get(), bytes.data(), bytes.size());
      buffer_.append(bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
    }
  }
  void skip_filling() { EXPECT_THAT(read_line(), StartsWith("xxx")); }

 private:
  unique_fd before_;
  pipe_ends pipe_;
  std::string buffer_;
};

/// More than fit in the queue.
constexpr int too_many = 20'000;

TEST(background_log, does_not_block_a_thread_while_nobody_reads_stderr) {
  full_stderr pipe;
  const background_log thread;
  for (int i = 0; i < too_many; ++i)
    log().warn("message {}", i);
  EXPECT_FALSE(flush_log(milliseconds(1)));
}

TEST(background_log, reports_how_many_messages_were_dropped_and_continues) {
  full_stderr pipe;
  const background_log thread;
  for (int i = 0; i < too_many; ++i)
    log().warn("message {}", i);
  pipe.skip_filling();
  // The thread may take messages at any time, so there may be several reports.
  int next = 0;
  int dropped = 0;
  while (next < too_many) {
    const auto line = pipe.read_line();
    if (line == "xenpv-test: warning: message " + std::to_string(next)) {
      ++next;
      continue;
    }
    int count = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "xenpv-test: warning: %d messages dropped", &count), 1)
        << line << " instead of message " << next;
    EXPECT_TRUE(line.ends_with(": the reader of stderr did not keep up")) << line;
    dropped += count;
    next += count;
  }
  EXPECT_EQ(next, too_many);
  EXPECT_GT(dropped, 0);
  log().info("the next message");
  EXPECT_EQ(pipe.read_line(), "xenpv-test: info: the next message");
}

TEST(background_log, keeps_the_order_of_messages_and_of_other_text) {
  full_stderr pipe;
  const background_log thread;
  log().info("first");
  write_message("xenpv-test: second\n");
  log().error("third");
  pipe.skip_filling();
  EXPECT_EQ(pipe.read_line(), "xenpv-test: info: first");
  EXPECT_EQ(pipe.read_line(), "xenpv-test: second");
  EXPECT_EQ(pipe.read_line(), "xenpv-test: error: third");
}

TEST(background_log, writes_the_queued_messages_before_it_ends) {
  full_stderr pipe;
  std::vector<std::string> lines;
  std::thread reader;
  {
    const background_log thread;
    for (int i = 0; i < 100; ++i)
      log().info("message {}", i);
    reader = std::thread([&] {
      pipe.skip_filling();
      for (int i = 0; i < 101; ++i)
        lines.push_back(pipe.read_line());
    });
  }
  log().info("written by the caller");
  reader.join();
  ASSERT_EQ(lines.size(), 101U);
  EXPECT_EQ(lines[99], "xenpv-test: info: message 99");
  EXPECT_EQ(lines[100], "xenpv-test: info: written by the caller");
}

TEST(background_log, ends_although_nobody_reads_stderr) {
  full_stderr pipe;
  {
    const background_log thread;
    log().info("lost");
  }
  // This process has used a thread, so that callers do not block afterwards either.
  log().info("also lost");
  pipe.skip_filling();
  log().info("read");
  EXPECT_THAT(pipe.read_line(), HasSubstr("1 message dropped"));
  EXPECT_EQ(pipe.read_line(), "xenpv-test: info: read");
}

TEST(background_log, may_be_nested) {
  full_stderr pipe;
  {
    const background_log outer;
    {
      const background_log inner;
      log().info("in both");
    }
    log().info("in one");
    pipe.skip_filling();
    EXPECT_EQ(pipe.read_line(), "xenpv-test: info: in both");
    EXPECT_EQ(pipe.read_line(), "xenpv-test: info: in one");
  }
}

TEST(background_log, leaves_a_single_thread_when_it_ends) {
  const auto threads = [] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
      if (entry.exists()) ++count;
    return count;
  };
  // ThreadSanitizer starts a background thread together with the first one.
  std::thread([] {}).join();
  const auto before = threads();
  {
    const background_log thread;
    EXPECT_EQ(threads(), before + 1);
  }
  EXPECT_EQ(threads(), before);
}

TEST(log_output, of_a_process_with_limited_waits_does_not_block) {
  full_stderr pipe;
  const auto child = ::fork();
  if (child == 0) {
    limit_log_waits();
    for (int i = 0; i < 100; ++i)
      log().warn("message {}", i);
    ::_exit(3);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

TEST(log_queue, reports_dropped_messages_after_those_that_it_keeps) {
  std::vector<std::string> written;
  const auto queue = std::make_shared<log_queue>(
      [&](const log_message& message, const std::function<bool()>&) {
        written.emplace_back(message.line);
      },
      [](log_level, std::string_view text) { return std::string(text); });
  const std::string half(log_queue::capacity / 2, 'x');
  for (const std::string_view line : {std::string_view(half), std::string_view(half),
                                      std::string_view("dropped"), std::string_view("dropped")})
    queue->push({log_level::info, line, {}});
  log_queue::start(queue);
  EXPECT_TRUE(queue->flush(seconds(10)));
  queue->stop(seconds(10));
  ASSERT_EQ(written.size(), 3U);
  EXPECT_EQ(written[2], "2 messages dropped: the reader of stderr did not keep up");
}

}  // namespace
}  // namespace xenpv
