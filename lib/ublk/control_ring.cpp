#include "ublk/control_ring.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
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
  io_uring io{};
};

control_ring::control_ring() : device_(open_control()), ring_(std::make_unique<ring>()) {
  // One command at a time; each entry has 128 bytes, for the command's 32.
  const int code = ::io_uring_queue_init(1, &ring_->io, IORING_SETUP_SQE128);
  if (code == 0) return;
  ring_.reset();
  check_ring_setup(code, "set up io_uring for ublk");
}

control_ring::~control_ring() {
  if (ring_) ::io_uring_queue_exit(&ring_->io);
}

int control_ring::send(control_command command, const ctrl_cmd& content) {
  int out = 0;
  std::thread sender([&] { out = execute(command, content); });
  sender.join();
  return out;
}

int control_ring::execute(control_command command, const ctrl_cmd& content) {
  auto* const entry = ::io_uring_get_sqe(&ring_->io);
  if (entry == nullptr) return -EBUSY;
  std::memset(static_cast<void*>(entry), 0, 2 * sizeof *entry);
  entry->opcode = IORING_OP_URING_CMD;
  entry->fd = device_.get();
  entry->cmd_op = opcode(command);
  std::memcpy(reinterpret_cast<std::byte*>(entry) + offsetof(io_uring_sqe, cmd), &content,
              sizeof content);
  io_uring_cqe* completion = nullptr;
  int code = ::io_uring_submit(&ring_->io);
  if (code < 0) return code;
  do
    code = ::io_uring_wait_cqe(&ring_->io, &completion);
  while (code == -EINTR);
  if (code < 0) return code;
  const int result = completion->res;
  ::io_uring_cqe_seen(&ring_->io, completion);
  return result;
}

}  // namespace xenpv::ublk
