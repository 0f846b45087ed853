// A fake of libxenevtchn's C functions. Like /dev/xen/evtchn, it masks a port when an event is
// delivered and merges further events; it delivers port numbers through a real pipe. Replaces the
// library in each program that includes this header. Single-threaded.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

struct xenevtchn_handle {
  int read_end;
  int write_end;
};

namespace xenpv::async::test {

class fake_device {
 public:
  struct bound {
    xenevtchn_handle* handle;
    std::uint32_t peer = 0;
    bool masked = false;
    bool pending = false;
  };

  std::map<std::uint32_t, bound> ports;
  std::set<xenevtchn_handle*> handles;
  std::uint32_t next_port = 1;
  bool refuse_open = false;
  int unmasks = 0;
  int unbinds = 0;

  void clear() {
    for (auto* handle : std::set(handles))
      close(handle);
    *this = {};
  }

  xenevtchn_handle* open() {
    if (refuse_open) {
      errno = ENOENT;
      return nullptr;
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return nullptr;
    auto* handle = new xenevtchn_handle{ends[0], ends[1]};
    handles.insert(handle);
    return handle;
  }
  void close(xenevtchn_handle* handle) {
    if (handle == nullptr) return;
    std::erase_if(ports, [&](const auto& port) { return port.second.handle == handle; });
    ::close(handle->read_end);
    ::close(handle->write_end);
    handles.erase(handle);
    delete handle;
  }
  int bind(xenevtchn_handle* handle, std::uint32_t peer = 0) {
    const auto number = next_port++;
    ports[number] = {.handle = handle, .peer = peer};
    return static_cast<int>(number);
  }

  /// Raises an event on port `number`, as the kernel's interrupt handler does.
  void raise(std::uint32_t number) {
    auto& port = ports.at(number);
    if (port.masked) {
      port.pending = true;
      return;
    }
    port.masked = true;
    put(port.handle, number);
  }
  /// Makes `number` readable from `handle`, even if no such port is bound.
  static void put(xenevtchn_handle* handle, std::uint32_t number) {
    if (::write(handle->write_end, &number, sizeof number) != sizeof number) std::abort();
  }
  void unmask(std::uint32_t number) {
    ++unmasks;
    const auto found = ports.find(number);
    if (found == ports.end() || !found->second.masked) return;
    found->second.masked = false;
    if (std::exchange(found->second.pending, false)) raise(number);
  }
  [[nodiscard]] bool is_masked(std::uint32_t number) const { return ports.at(number).masked; }
};

inline fake_device device;

}  // namespace xenpv::async::test

extern "C" {

[[gnu::used]] inline xenevtchn_handle* xenevtchn_open(void*, unsigned) {
  return xenpv::async::test::device.open();
}
[[gnu::used]] inline int xenevtchn_close(xenevtchn_handle* handle) {
  xenpv::async::test::device.close(handle);
  return 0;
}
[[gnu::used]] inline int xenevtchn_fd(xenevtchn_handle* handle) {
  return handle->read_end;
}
[[gnu::used]] inline int xenevtchn_notify(xenevtchn_handle* handle, std::uint32_t port) {
  auto& device = xenpv::async::test::device;
  const auto found = device.ports.find(port);
  if (found == device.ports.end() || found->second.handle != handle) {
    errno = ENOTCONN;
    return -1;
  }
  if (found->second.peer != 0) device.raise(found->second.peer);
  return 0;
}
[[gnu::used]] inline int xenevtchn_bind_unbound_port(xenevtchn_handle* handle, std::uint32_t) {
  return xenpv::async::test::device.bind(handle);
}
[[gnu::used]] inline int xenevtchn_bind_interdomain(xenevtchn_handle* handle, std::uint32_t,
                                                    std::uint32_t remote) {
  auto& device = xenpv::async::test::device;
  const auto peer = device.ports.find(remote);
  if (peer == device.ports.end()) {
    errno = EINVAL;
    return -1;
  }
  const int local = device.bind(handle, remote);
  peer->second.peer = static_cast<std::uint32_t>(local);
  device.raise(static_cast<std::uint32_t>(local));
  return local;
}
[[gnu::used]] inline int xenevtchn_bind_virq(xenevtchn_handle* handle, unsigned) {
  return xenpv::async::test::device.bind(handle);
}
[[gnu::used]] inline int xenevtchn_unbind(xenevtchn_handle* handle, std::uint32_t port) {
  auto& device = xenpv::async::test::device;
  ++device.unbinds;
  const auto found = device.ports.find(port);
  if (found == device.ports.end() || found->second.handle != handle) {
    errno = ENOTCONN;
    return -1;
  }
  device.ports.erase(found);
  return 0;
}
[[gnu::used]] inline int xenevtchn_unmask(xenevtchn_handle*, std::uint32_t port) {
  xenpv::async::test::device.unmask(port);
  return 0;
}

}  // extern "C"
