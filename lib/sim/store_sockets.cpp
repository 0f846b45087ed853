#include "sim/store_sockets.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "sim/listen.hpp"
#include "wire/xs.hpp"

namespace xenpv::sim {

struct store_sockets::connection {
  unique_fd socket;
  std::uint8_t slot = 0;
  store_service::connection_id id{};
  bool privileged = false;
  std::vector<std::byte> unsent;
  std::size_t delayed = 0;  ///< received chunks that the service has not processed yet
  bool closed = false;
};

store_sockets::~store_sockets() {
  for (auto& [slot, endpoint] : listeners_)
    if (endpoint.socket) reactor_.remove(endpoint.socket.get());
  for (auto& [id, peer] : connections_)
    reactor_.remove(peer->socket.get());
}

void store_sockets::listen(std::uint8_t slot, listener& endpoint) {
  endpoint.socket = listen_at(endpoint.path, SOCK_STREAM | SOCK_NONBLOCK, allowed_user_);
  reactor_.add(endpoint.socket.get(), EPOLLIN, [this, slot](std::uint32_t) { accept(slot); });
}

void store_sockets::open(std::uint8_t slot, domid domain, std::filesystem::path path) {
  auto& endpoint = listeners_[slot];
  endpoint.domain = domain;
  endpoint.path = std::move(path);
  if (!vanished_) listen(slot, endpoint);
}

void store_sockets::close(std::uint8_t slot) {
  if (const auto entry = listeners_.find(slot); entry != listeners_.end()) {
    if (entry->second.socket) reactor_.remove(entry->second.socket.get());
    ::unlink(entry->second.path.c_str());
    listeners_.erase(entry);
  }
  std::vector<std::shared_ptr<connection>> peers;
  for (const auto& [id, peer] : connections_)
    if (peer->slot == slot) peers.push_back(peer);
  for (const auto& peer : peers)
    drop(peer);
}

void store_sockets::rename(std::uint8_t slot, domid domain) {
  listeners_[slot].domain = domain;
}

void store_sockets::accept(std::uint8_t slot) {
  auto& endpoint = listeners_.at(slot);
  auto socket = accept_permitted(endpoint.socket.get(), SOCK_NONBLOCK, allowed_user_);
  if (!socket) return;
  auto peer = std::make_shared<connection>();
  peer->socket = std::move(socket);
  peer->slot = slot;
  peer->privileged = endpoint.domain == domid_0;
  peer->id = store_.attach(endpoint.domain);
  connections_[peer->id] = peer;
  reactor_.add(peer->socket.get(), EPOLLIN, [this, peer](std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) send(*peer);
    if ((events & ~std::uint32_t{EPOLLOUT}) != 0) readable(peer);
  });
}

void store_sockets::readable(const std::shared_ptr<connection>& peer) {
  std::vector<std::byte> bytes(std::size_t{16} * 1024);
  const auto got = ::read(peer->socket.get(), bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    drop(peer);
    return;
  }
  bytes.resize(static_cast<std::size_t>(got));
  if (peer->privileged || (delay_.count() == 0 && peer->delayed == 0)) {
    feed(peer, bytes);
    return;
  }
  // Chunks keep their order: timers with the same delay fire in the order in which they were
  // started.
  ++peer->delayed;
  reactor_.after(delay_, [this, peer, bytes = std::move(bytes)] {
    --peer->delayed;
    if (!peer->closed) feed(peer, bytes);
  });
}

void store_sockets::feed(const std::shared_ptr<connection>& peer,
                         const std::vector<std::byte>& bytes) {
  const auto old_count = store_.guest_request_count();
  const bool valid = store_.receive(peer->id, bytes);
  const auto requests = store_.guest_request_count() - old_count;
  flush();
  if (!valid) drop(peer);
  if (vanish_after_ == 0) return;
  if (requests >= vanish_after_)
    vanish();
  else
    vanish_after_ -= static_cast<std::uint32_t>(requests);
}

void store_sockets::flush() {
  for (const auto id : store_.take_ready())
    if (const auto entry = connections_.find(id); entry != connections_.end()) send(*entry->second);
}

void store_sockets::send(connection& peer) {
  for (;;) {
    // Output that does not fit into the socket buffer stays in the service, which limits unread
    // events.
    if (peer.unsent.empty()) peer.unsent = store_.take_output(peer.id);
    if (peer.unsent.empty()) break;
    const auto sent =
        ::send(peer.socket.get(), peer.unsent.data(), peer.unsent.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) break;  // full: wait for EPOLLOUT; broken: readable() drops the peer
    peer.unsent.erase(peer.unsent.begin(), peer.unsent.begin() + sent);
  }
  // Do not read requests from a peer that does not read its replies.
  reactor_.modify(peer.socket.get(), peer.unsent.empty() ? EPOLLIN : EPOLLOUT);
}

void store_sockets::drop(const std::shared_ptr<connection>& peer) {
  if (peer->closed) return;
  peer->closed = true;
  reactor_.remove(peer->socket.get());
  store_.detach(peer->id);
  connections_.erase(peer->id);
  peer->socket.reset();
}

void store_sockets::vanish() {
  vanished_ = true;
  vanish_after_ = 0;
  for (auto& [slot, endpoint] : listeners_) {
    reactor_.remove(endpoint.socket.get());
    endpoint.socket.reset();
    ::unlink(endpoint.path.c_str());
  }
  const auto peers = connections_;
  for (const auto& [id, peer] : peers)
    drop(peer);
}

void store_sockets::set_faults(const fault_switches& faults) {
  delay_ = faults.store_delay;
  vanish_after_ = faults.store_vanish_after;
  if (!vanished_ || vanish_after_ != 0) return;
  vanished_ = false;
  for (auto& [slot, endpoint] : listeners_)
    listen(slot, endpoint);
}

}  // namespace xenpv::sim
