#include "sim/qmp.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "sim/listen.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {
namespace {

using nlohmann::json;

constexpr timeval reply_limit{10, 0};

/// A session with a QEMU, one message per line. QEMU accepts one session at a time.
class qmp_session {
 public:
  explicit qmp_session(const std::filesystem::path& path)
      : path_(path), socket_(connect_to(path, SOCK_STREAM)) {
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &reply_limit, sizeof reply_limit);
    (void)read_message();  // the greeting
    execute("qmp_capabilities", json::object());
  }

  /// Waits for the reply and ignores events.
  void execute(const std::string& command, const json& arguments) {
    const json request{{"execute", command}, {"arguments", arguments}};
    send(request.dump() + "\n");
    for (;;) {
      const auto message = read_message();
      if (message.contains("return")) return;
      if (message.contains("error"))
        throw failure(error{make_error_code(errc::lost_connection),
                            fmt::format("QEMU refuses {}: {}", command,
                                        message.at("error").value("desc", std::string()))});
    }
  }

 private:
  void send(const std::string& line) {
    if (::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(line.size()))
      throw_errno(fmt::format("send a command to QEMU at {}", path_.string()));
  }

  json read_message() {
    auto end = unread_.find('\n');
    while (end == std::string::npos) {
      std::array<char, 4096> bytes{};
      const auto got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_errno(fmt::format("wait for a reply of QEMU at {}", path_.string()));
      if (got == 0)
        throw failure(errc::lost_connection,
                      fmt::format("wait for a reply of QEMU at {}", path_.string()));
      unread_.append(bytes.data(), static_cast<std::size_t>(got));
      end = unread_.find('\n');
    }
    auto message = json::parse(unread_.substr(0, end));
    unread_.erase(0, end + 1);
    return message;
  }

  std::filesystem::path path_;
  unique_fd socket_;
  std::string unread_;
};

}  // namespace

void resize_qemu_disk(const std::filesystem::path& socket, std::string_view disk,
                      std::uint64_t bytes) {
  qmp_session qemu(socket);
  // xen-block names a disk's block node after the disk and its format.
  qemu.execute("block_resize", {{"node-name", fmt::format("{}-raw", disk)}, {"size", bytes}});
}

}  // namespace xenpv::sim
