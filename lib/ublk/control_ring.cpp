#include "ublk/control_ring.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>
#include <thread>

#include "ublk/ring_failure.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::ublk {
namespace {

constexpr const char* control_path = "/dev/ublk-control";

unique_fd open_control() {
  unique_fd out(::open(control_path, O_RDWR | O_CLOEXEC));
  if (out) return out;
  const int problem = errno;
  const auto action = fmt::format("open {}", control_path);
  if (problem == ENOENT)
    throw failure(errc::not_available, action,
                  "the kernel's ublk driver is not loaded: modprobe ublk_drv (it needs Linux 6.5 "
                  "or later), or use --driver nbd");
  throw_errno(problem, action, problem == EACCES || problem == EPERM ? "are you root?" : "");
}

}  // namespace

struct control_ring::ring {
  ring() {
    // One command at a time; each entry has 128 bytes, for the command's 32.
    check_ring_setup(::io_uring_queue_init(1, &io, IORING_SETUP_SQE128),
                     "set up io_uring for ublk");
  }
  ~ring() { ::io_uring_queue_exit(&io); }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  io_uring io{};
};

control_ring::control_ring() : device_(open_control()), ring_(std::make_unique<ring>()) {}

control_ring::~control_ring() = default;

int control_ring::send(control_command command, const ctrl_cmd& content) {
  std::optional<int> out;
  try {
    if (!ring_) ring_ = std::make_unique<ring>();
    std::thread sender([&] { out = execute(command, content); });
    sender.join();
  } catch (const std::system_error& problem) {
    return -problem.code().value();
  }
  if (out) return *out;
  // Its entry, which refers to the caller's memory, must not be sent later.
  ring_.reset();
  return -EAGAIN;
}

std::optional<int> control_ring::execute(control_command command, const ctrl_cmd& content) {
  auto* const entry = ::io_uring_get_sqe(&ring_->io);
  if (entry == nullptr) return std::nullopt;
  std::memset(static_cast<void*>(entry), 0, 2 * sizeof *entry);
  entry->opcode = IORING_OP_URING_CMD;
  entry->fd = device_.get();
  entry->cmd_op = opcode(command);
  std::memcpy(reinterpret_cast<std::byte*>(entry) + offsetof(io_uring_sqe, cmd), &content,
              sizeof content);
  io_uring_cqe* completion = nullptr;
  int code = ::io_uring_submit(&ring_->io);
  if (code != 1) return std::nullopt;
  do
    code = ::io_uring_wait_cqe(&ring_->io, &completion);
  while (code == -EINTR);
  if (code < 0) return std::nullopt;
  const int result = completion->res;
  ::io_uring_cqe_seen(&ring_->io, completion);
  return result;
}

}  // namespace xenpv::ublk
