// Handle management of event_channels. A handle is an open file description of /dev/xen/evtchn.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sim/event_channels.hpp"

namespace xenpv::sim {
namespace {

std::uint64_t inode_of(int fd) {
  struct stat facts {};
  return ::fstat(fd, &facts) == 0 ? facts.st_ino : 0;
}

}  // namespace

event_channels::handle_record* event_channels::find(handle_id id) {
  if (id.index >= max_handles || !handles_[id.index].waker ||
      state_.handles[id.index].generation.load() != id.generation)
    return nullptr;
  return &handles_[id.index];
}

const event_channels::handle_record* event_channels::find(handle_id id) const {
  return const_cast<event_channels*>(this)->find(id);
}

boost::system::result<event_channels::opened_handle, std::errc> event_channels::open(
    std::uint8_t slot, pid_t opener) {
  const auto free = std::find_if(handles_.begin(), handles_.end(),
                                 [](const handle_record& h) { return !h.waker; });
  if (free == handles_.end()) return std::errc::too_many_files_open;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return static_cast<std::errc>(errno);
  const unique_fd read_end(ends[0]);
  unique_fd waker(ends[1]);
  // Like the device, the guest's descriptor is open for reading and writing: opening the pipe again
  // gives such a description. libxensim.so turns writes into unmask operations.
  unique_fd reader(
      ::open(fmt::format("/proc/self/fd/{}", read_end.get()).c_str(), O_RDWR | O_CLOEXEC));
  if (!reader) return static_cast<std::errc>(errno);
  // Make only the write end non-blocking: the reader decides whether its reads block, as on the
  // device.
  ::fcntl(waker.get(), F_SETFL, O_NONBLOCK);

  const auto index = static_cast<std::uint16_t>(free - handles_.begin());
  auto& shared = state_.handles[index];
  for (auto& word : shared.ports)
    word.store(0);
  shared.slot.store(slot);
  const handle_id id{index, next_generation_++};
  shared.generation.store(id.generation);
  *free =
      handle_record{std::move(waker), inode_of(reader.get()), slot, opener, false, std::nullopt};
  return opened_handle{id, std::move(reader), free->waker.get()};
}

std::optional<event_channels::handle_id> event_channels::adopt(std::uint8_t slot,
                                                               std::uint64_t inode) const {
  for (const auto id : open_handles())
    if (handles_[id.index].slot == slot && handles_[id.index].inode == inode) return id;
  return std::nullopt;
}

std::vector<event_channels::handle_id> event_channels::open_handles() const {
  std::vector<handle_id> ids;
  for (std::size_t i = 0; i < max_handles; ++i)
    if (handles_[i].waker)
      ids.push_back({static_cast<std::uint16_t>(i), state_.handles[i].generation.load()});
  return ids;
}

int event_channels::waker(handle_id id) const {
  const auto* handle = find(id);
  return handle == nullptr ? -1 : handle->waker.get();
}

std::optional<std::uint8_t> event_channels::slot_of(handle_id id) const {
  const auto* handle = find(id);
  if (handle == nullptr) return std::nullopt;
  return handle->slot;
}

std::optional<pid_t> event_channels::stale_opener(handle_id id) const {
  const auto* handle = find(id);
  if (handle == nullptr || !handle->stale) return std::nullopt;
  const auto& ports = state_.handles[id.index].ports;
  const bool any = std::any_of(ports.begin(), ports.end(), [](const auto& w) { return w != 0; });
  return any ? std::optional(handle->opener) : std::nullopt;
}

bool event_channels::is_last_reference_closed(handle_id id) const {
  const auto* handle = find(id);
  if (handle == nullptr) return false;
  pollfd probe{handle->waker.get(), 0, 0};
  return ::poll(&probe, 1, 0) == 1 && (probe.revents & POLLERR) != 0;
}

std::optional<pid_t> event_channels::release(handle_id id, std::optional<pid_t> closer) {
  auto* handle = find(id);
  if (handle == nullptr) return std::nullopt;
  auto& shared = state_.handles[id.index];
  std::optional<pid_t> victim;
  for (std::uint32_t port = 0; port < max_ports; ++port) {
    if (!shared.has_port(port)) continue;
    if (!handle->stale) {
      unbind_port(handle->slot, port);
    } else if (!close_stale(handle->slot, port)) {
      const auto domain = domid{static_cast<std::uint16_t>(state_.domains[handle->slot].domain)};
      bugs_.push_back({domain, closer.value_or(0), port,
                       fmt::format("kernel BUG at drivers/xen/evtchn.c: last reference closed; the "
                                   "handle was open across save/restore (port {}, opened by "
                                   "process {})",
                                   port, handle->opener)});
      victim = closer;
      break;
    }
  }
  shared.generation.store(0);
  *handle = handle_record{};
  return victim;
}

void event_channels::write_port(std::uint16_t handle, std::uint32_t generation,
                                std::uint32_t port) {
  const auto* record = find({handle, generation});
  if (record == nullptr) return;
  // The pipe is never full: it has room for 16384 ports and contains each port at most once. Write
  // errors can be ignored: EPOLLERR on this end reports that the reader has been closed.
  [[maybe_unused]] const auto written = ::write(record->waker.get(), &port, sizeof port);
}

}  // namespace xenpv::sim
