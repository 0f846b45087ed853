#include "sim/intercept/system_call.hpp"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace xenpv::sim::intercept {

std::optional<system_call> system_call::receive(int listener) noexcept {
  seccomp_notif notification{};  // the kernel requires zeros
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) return std::nullopt;
  system_call call;
  call.listener_ = listener;
  call.id_ = notification.id;
  call.thread_ = static_cast<pid_t>(notification.pid);
  call.number_ = notification.data.nr;
  std::copy(std::begin(notification.data.args), std::end(notification.data.args),
            call.arguments_.begin());
  return call;
}

bool system_call::is_waiting() const noexcept {
  auto id = id_;
  return ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void system_call::answer(std::int64_t value, int error, std::uint32_t flags) noexcept {
  seccomp_notif_resp response{id_, value, -error, flags};
  (void)::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void system_call::run_natively() noexcept {
  answer(0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

void system_call::return_value(std::int64_t value) noexcept {
  answer(value, 0, 0);
}

void system_call::fail(int error) noexcept {
  answer(0, error, 0);
}

void system_call::return_result(std::int64_t value) noexcept {
  if (value < 0)
    fail(errno);
  else
    return_value(value);
}

void system_call::return_descriptor(int fd, bool close_on_exec,
                                    std::optional<unsigned> number) noexcept {
  seccomp_notif_addfd added{};
  added.id = id_;
  added.flags = SECCOMP_ADDFD_FLAG_SEND | (number ? SECCOMP_ADDFD_FLAG_SETFD : 0U);
  added.srcfd = static_cast<std::uint32_t>(fd);
  added.newfd = number.value_or(0);
  added.newfd_flags = close_on_exec ? static_cast<std::uint32_t>(O_CLOEXEC) : 0;
  while (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ADDFD, &added) < 0) {
    if (errno == EINTR) continue;
    // EBADF: the process has lowered its limit below `number`.
    fail(errno == EBADF ? EMFILE : errno);
    return;
  }
}

}  // namespace xenpv::sim::intercept
