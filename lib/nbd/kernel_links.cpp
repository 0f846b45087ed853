#include "nbd/kernel_links.hpp"

#include <sys/socket.h>

#include <algorithm>

#include "nbd/kernel_device.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

/// A link that lived at least this long had been accepted by the kernel: the kernel's timeouts are
/// whole seconds.
constexpr std::chrono::milliseconds min_lifetime(500);

struct socket_pair {
  unique_fd server_end;
  unique_fd kernel_end;
};

void enlarge_buffer_of(int socket, kernel_delegate* delegate) {
  try {
    if (delegate != nullptr)
      delegate->enlarge_buffer(socket);
    else
      enlarge_link_buffer(socket);
  } catch (const failure& problem) {
    log().debug("{}", problem.what());
  }
}

socket_pair make_socket_pair(kernel_delegate* delegate) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw_errno("create a socket pair for the kernel");
  socket_pair out{unique_fd(ends[0]), unique_fd(ends[1])};
  for (const int end : ends)
    enlarge_buffer_of(end, delegate);
  return out;
}

}  // namespace

kernel_links::kernel_links(server& nbd_server, std::size_t count, std::size_t queues,
                           std::function<void()> changed, kernel_delegate* delegate)
    : server_(nbd_server),
      queues_(queues),
      changed_(std::move(changed)),
      delegate_(delegate),
      links_(count) {}

std::vector<unique_fd> kernel_links::renew() {
  std::vector<unique_fd> out;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].alive) continue;
    auto pair = make_socket_pair(delegate_);
    links_[i] = {++generations_, true, false, std::chrono::steady_clock::now()};
    out.push_back(std::move(pair.kernel_end));
    auto report_end = [weak = weak_from_this(), i,
                       generation = generations_](bool disconnect_received) {
      if (const auto self = weak.lock()) self->ended(i, generation, disconnect_received);
    };
    server_.serve_agreed(std::move(pair.server_end), i % queues_, std::move(report_end));
  }
  return out;
}

std::size_t kernel_links::alive() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(links_.begin(), links_.end(), [](const link& entry) { return entry.alive; }));
}

bool kernel_links::disconnect_received() const noexcept {
  return std::any_of(links_.begin(), links_.end(),
                     [](const link& entry) { return entry.disconnect_received; });
}

void kernel_links::ended(std::size_t number, std::uint64_t generation, bool disconnect_received) {
  auto& ended_link = links_[number];
  if (ended_link.generation != generation) return;
  ended_link.alive = false;
  ended_link.disconnect_received = disconnect_received;
  const bool was_accepted = std::chrono::steady_clock::now() - ended_link.created >= min_lifetime;
  short_lived_ = was_accepted ? 0 : short_lived_ + 1;
  changed_();
}

}  // namespace xenpv::nbd
