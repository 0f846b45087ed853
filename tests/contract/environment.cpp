#include "contract/environment.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <stdexcept>

#include "contract/store_session.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::contract {

namespace {

constexpr unsigned watchdog_seconds = 90;
std::array<char, 200> current_case{};

void report_hang(int) {
  const auto say = [](const char* text) {
    // A signal handler cannot report a failed write to stderr.
    if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
  };
  say("contract_tests: ");
  say(current_case.data());
  say(" timed out\n");
  // On real Xen, the log is the only source of information, so print all threads' kernel stacks.
  const auto child = ::fork();
  if (child == 0) {
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::execlp("sh", "sh", "-c",
             "cd /proc/$PPID/task && for t in *; do "
             "echo \"thread $t:\"; cat $t/comm $t/syscall $t/stack; done",
             nullptr);
    ::_exit(127);
  }
  if (child > 0) ::waitpid(child, nullptr, 0);
  ::_exit(1);
}

class watchdog : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& info) override {
    const std::string name = std::string(info.test_suite_name()) + '.' + info.name();
    std::strncpy(current_case.data(), name.c_str(), current_case.size() - 1);
    ::alarm(watchdog_seconds);
  }
  void OnTestEnd(const testing::TestInfo&) override { ::alarm(0); }
};

std::uint32_t ask_own_domid() {
  const store_session store;
  const auto text = store.read("domid");
  std::uint32_t value = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc{})
    throw std::runtime_error(
        "xenstore has no readable node 'domid' in the home directory of this domain");
  return value;
}

}  // namespace

bool on_simulator() {
  return std::getenv("XENPV_SIM_DIR") != nullptr;
}

std::optional<std::string> reason_not_possible() {
  if (on_simulator() || ::access("/dev/xen/evtchn", F_OK) == 0) return std::nullopt;
  return "no /dev/xen/evtchn and no simulator (start it with: xenpv-sim run -- contract_tests)";
}

unsigned xen_minor_version() {
  const auto text = system_root::from_environment().read("/sys/hypervisor/version/minor");
  if (!text) throw std::runtime_error("/sys/hypervisor/version/minor cannot be read");
  return static_cast<unsigned>(std::stoul(*text));
}

std::uint32_t own_domid() {
  static const std::uint32_t value = ask_own_domid();
  return value;
}

bool readable_within(int descriptor, std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd entry{descriptor, POLLIN, 0};
    const int count = ::poll(&entry, 1, static_cast<int>(std::max(left.count(), std::int64_t{0})));
    if (count > 0) return (entry.revents & POLLIN) != 0;
    if (count == 0) return false;
    if (errno != EINTR) throw_errno("poll");
  }
}

std::ostream& operator<<(std::ostream& out, const outcome& value) {
  if (value.ok) return out << "success";
  return out << "failure with errno " << value.error << " (" << describe_errno(value.error) << ')';
}

void install_watchdog() {
  struct sigaction action {};
  action.sa_handler = report_hang;
  ::sigaction(SIGALRM, &action, nullptr);
  testing::UnitTest::GetInstance()->listeners().Append(new watchdog);
}

}  // namespace xenpv::contract
