#include "nbd/kernel_links.hpp"

#include <sys/socket.h>

#include <algorithm>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

/// One that lived so long was taken by the kernel: timeouts are whole seconds.
constexpr std::chrono::milliseconds full_age(500);

struct socket_pair {
  unique_fd ours;
  unique_fd theirs;
};

socket_pair make_socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw_errno("make a socket pair for the kernel");
  // Room for several of the kernel's requests in each direction; beyond what wmem_max lets others
  // have.
  constexpr int room = 1 << 20;
  for (const int end : ends)
    ::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

}  // namespace

kernel_links::kernel_links(server& on, std::size_t count, std::size_t queues,
                           std::function<void()> changed)
    : server_(on), queues_(queues), changed_(std::move(changed)), links_(count) {}

std::vector<unique_fd> kernel_links::renew() {
  std::vector<unique_fd> out;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].alive) continue;
    auto pair = make_socket_pair();
    links_[i] = {++generations_, true, false, std::chrono::steady_clock::now()};
    out.push_back(std::move(pair.theirs));
    auto tell = [weak = weak_from_this(), i, generation = generations_](bool said_goodbye) {
      if (const auto self = weak.lock()) self->ended(i, generation, said_goodbye);
    };
    server_.serve_agreed(std::move(pair.ours), i % queues_, std::move(tell));
  }
  return out;
}

std::size_t kernel_links::alive() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(links_.begin(), links_.end(), [](const link& each) { return each.alive; }));
}

bool kernel_links::said_goodbye() const noexcept {
  return std::any_of(links_.begin(), links_.end(),
                     [](const link& each) { return each.said_goodbye; });
}

void kernel_links::ended(std::size_t number, std::uint64_t generation, bool said_goodbye) {
  auto& gone = links_[number];
  if (gone.generation != generation) return;
  gone.alive = false;
  gone.said_goodbye = said_goodbye;
  const bool was_wanted = std::chrono::steady_clock::now() - gone.since >= full_age;
  unwanted_ = was_wanted ? 0 : unwanted_ + 1;
  changed_();
}

}  // namespace xenpv::nbd
