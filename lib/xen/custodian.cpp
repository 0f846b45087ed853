#include "xenpv/xen/custodian.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <utility>

#include "xen/custodian_process.hpp"
#include "xen/custodian_wire.hpp"
#include "xen/packet_socket.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {
namespace {

void require_single_thread() {
  const std::filesystem::path tasks = "/proc/self/task";
  std::error_code code;
  const std::filesystem::directory_iterator first(tasks, code);
  if (code)
    throw failure(code, "start the custodian", "it needs /proc to count this process's threads");
  const auto threads = std::distance(first, std::filesystem::directory_iterator());
  if (threads != 1)
    throw failure(errc::invalid_argument, "start the custodian",
                  fmt::format("it must start before any thread, and {} run", threads));
}

/// A number above the standard streams', which a process may have been started without.
unique_fd above_standard_streams(unique_fd descriptor) {
  if (descriptor.get() > STDERR_FILENO) return descriptor;
  const int moved = ::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (moved < 0) throw_errno("start the custodian");
  return unique_fd(moved);
}

std::pair<unique_fd, unique_fd> make_socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw_errno("start the custodian");
  unique_fd ours(ends[0]);
  unique_fd theirs(ends[1]);
  return {above_standard_streams(std::move(ours)), above_standard_streams(std::move(theirs))};
}

void reap(pid_t process, int options) noexcept {
  while (::waitpid(process, nullptr, options) < 0 && errno == EINTR)
    continue;
}

}  // namespace

struct custodian::connection {
  connection(unique_fd socket_end, pid_t child) noexcept
      : socket(std::move(socket_end)), process(child) {}
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection() { stop(); }

  /// One request and its reply. `operation` is for errors.
  std::uint64_t call(const custodian_request& request, std::string_view operation,
                     int descriptor = -1) {
    const auto bytes = encode(request);
    if (bytes.size() > packet_limit)
      throw failure(
          errc::limit_reached, operation,
          fmt::format("{} bytes, and the custodian takes {}", bytes.size(), packet_limit));
    const std::lock_guard one_at_a_time(mutex);
    if (!send_packet(socket.get(), bytes, descriptor)) throw_gone(operation);
    return receive_reply(operation);
  }

  std::uint64_t receive_reply(std::string_view operation) {
    const auto received = receive_packet(socket.get());
    if (!received) throw_gone(operation);
    auto reply = decode_reply(received->bytes).value();
    if (reply.refusal != 0)
      throw failure(static_cast<errc>(reply.refusal), operation, reply.reason);
    return reply.value;
  }

  [[noreturn]] void throw_gone(std::string_view operation) const {
    throw failure(errc::lost_connection, operation,
                  fmt::format("the custodian, process {}, is gone", process));
  }

  void stop() noexcept {
    try {
      const bool stays = call(stop_request{}, "stop the custodian") != 0;
      if (stays)
        log().info("the custodian, process {}, keeps event channels of before the resume", process);
      else
        reap(process, 0);
    } catch (const std::exception& e) {
      log().warn("{}", e.what());
      reap(process, WNOHANG);
    }
  }

  std::mutex mutex;
  unique_fd socket;
  pid_t process;
};

custodian custodian::start() {
  require_single_thread();
  auto [ours, theirs] = make_socket_pair();
  const pid_t child = ::fork();
  if (child < 0) throw_errno("start the custodian");
  if (child == 0) live_as_custodian(std::move(theirs));
  theirs.reset();
  auto started = std::make_unique<connection>(std::move(ours), child);
  started->receive_reply("start the custodian");
  return custodian(std::move(started));
}

custodian::custodian(std::unique_ptr<connection> c) noexcept : connection_(std::move(c)) {}
custodian::custodian(custodian&&) noexcept = default;
custodian& custodian::operator=(custodian&&) noexcept = default;
custodian::~custodian() = default;

custodian::kept_id custodian::keep(int descriptor) {
  const auto operation = fmt::format("keep descriptor {}", descriptor);
  if (::fcntl(descriptor, F_GETFD) < 0) throw_errno(operation);
  return kept_id(connection_->call(keep_request{}, operation, descriptor));
}

void custodian::hold(int descriptor) {
  const auto operation = fmt::format("hold descriptor {}", descriptor);
  if (::fcntl(descriptor, F_GETFD) < 0) throw_errno(operation);
  connection_->call(hold_request{}, operation, descriptor);
}

void custodian::release(kept_id id) {
  connection_->call(release_request{static_cast<std::uint64_t>(id)}, "release a kept descriptor");
}

void custodian::resumed() {
  connection_->call(resumed_request{}, "tell the custodian of a resume");
}

void custodian::set_cleanup(const std::string& name, const std::vector<cleanup_step>& steps) {
  connection_->call(set_cleanup_request{name, steps}, fmt::format("register cleanup '{}'", name));
}

void custodian::clear_cleanup(const std::string& name) {
  connection_->call(clear_cleanup_request{name}, fmt::format("clear cleanup '{}'", name));
}

pid_t custodian::process() const noexcept {
  return connection_->process;
}

}  // namespace xenpv::xen
