#include "sim/guest/open_devices.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <string>

#include "sim/guest/attachment.hpp"
#include "sim/guest/gntalloc.hpp"
#include "sim/guest/gntdev.hpp"
#include "sim/guest/libc.hpp"
#include "sim/guest/privcmd.hpp"

namespace xenpv::sim::guest {
namespace {

constexpr std::size_t max_descriptors = 65536;
constexpr unsigned kind_shift = 60;

constinit std::array<std::atomic<std::uint64_t>, max_descriptors> descriptors{};

// The process to which the table belongs. A child of vfork(2) shares the table, but not the
// descriptors.
constinit std::atomic<pid_t> table_owner{0};

struct referenced_file {
  std::shared_ptr<device_file> file;
  unsigned descriptors = 0;
};

struct file_table {
  std::mutex mutex;
  std::map<std::uint64_t, referenced_file> files;
  std::uint64_t next_id = 1;
};

// Never destroyed: exit handlers of other libraries may use devices.
file_table& files() {
  static auto* table = [] {
    table_owner = ::getpid();
    (void)pthread_atfork(nullptr, nullptr, [] {
      table_owner = ::getpid();
      // A thread that does not exist in the child may hold the lock.
      new (&files().mutex) std::mutex;
    });
    return new file_table;
  }();
  return *table;
}

bool has_file(const open_device& device) {
  return device.kind != device_kind::evtchn && device.kind != device_kind::xenbus;
}

std::uint64_t pack(const open_device& device) {
  return std::uint64_t{static_cast<std::uint8_t>(device.kind)} << kind_shift | device.id;
}

open_device unpack(std::uint64_t word) {
  return {static_cast<device_kind>(word >> kind_shift),
          word & ((std::uint64_t{1} << kind_shift) - 1)};
}

bool fits(int fd) {
  return fd >= 0 && static_cast<std::size_t>(fd) < max_descriptors;
}

std::atomic<std::uint64_t>& slot_of(int fd) {
  return descriptors[static_cast<std::size_t>(fd)];
}

std::shared_ptr<device_file> make_file(device_kind kind) {
  if (kind == device_kind::gntdev) return std::make_shared<gntdev_file>();
  if (kind == device_kind::gntalloc) return std::make_shared<gntalloc_file>();
  return std::make_shared<privcmd_file>();
}

open_device add_file(device_kind kind) {
  auto& table = files();
  const std::lock_guard lock(table.mutex);
  const auto id = table.next_id++;
  table.files.emplace(id, referenced_file{make_file(kind), 0});
  return {kind, id};
}

int open_evtchn(int flags) noexcept {
  auto* host = attachment::current();
  auto answer = host->call(control_op::evtchn_open);
  if (answer.error != 0 || !answer.fd) return fail(answer.error != 0 ? answer.error : EPROTO);
  const int fd = answer.fd.get();
  if (!fits(fd)) return fail(EMFILE);
  if ((flags & O_CLOEXEC) == 0) ::fcntl(fd, F_SETFD, 0);
  if ((flags & O_NONBLOCK) != 0) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  add_duplicate(fd, {device_kind::evtchn, answer.a});
  return answer.fd.release();
}

/// Opens a descriptor that represents a device. Like a character device without poll support, a
/// memfd is always ready.
int open_memfd(device_kind kind, int flags) noexcept {
  const auto cloexec = (flags & O_CLOEXEC) != 0 ? MFD_CLOEXEC : 0U;
  const int fd = ::memfd_create(memfd_name(kind), cloexec);
  if (fd < 0) return -1;
  if (!fits(fd)) {
    libc::close(fd);
    return fail(EMFILE);
  }
  add_duplicate(fd, add_file(kind));
  return fd;
}

}  // namespace

const char* memfd_name(device_kind kind) noexcept {
  if (kind == device_kind::gntdev) return "xenpv-sim-gntdev";
  if (kind == device_kind::gntalloc) return "xenpv-sim-gntalloc";
  return "xenpv-sim-privcmd";
}

open_device find_device(int fd) noexcept {
  return fits(fd) ? unpack(slot_of(fd).load(std::memory_order_acquire)) : open_device{};
}

open_device recognise_device(int fd) noexcept {
  if (const auto known = find_device(fd); known.kind != device_kind::none || !fits(fd))
    return known;
  const auto link = "/proc/self/fd/" + std::to_string(fd);
  std::array<char, 64> target{};
  const auto size = ::readlink(link.c_str(), target.data(), target.size());
  if (size <= 0 || attachment::current() == nullptr) return {};
  const std::string_view name(target.data(), static_cast<std::size_t>(size));
  open_device device;
  if (name.starts_with("pipe:")) {
    struct stat facts {};
    if (::fstat(fd, &facts) != 0) return {};
    const auto answer = attachment::current()->call(control_op::evtchn_adopt, facts.st_ino);
    if (answer.error != 0) return {};
    device = {device_kind::evtchn, answer.a};
  } else {
    for (const auto kind : {device_kind::gntdev, device_kind::gntalloc, device_kind::privcmd})
      if (name == std::string("/memfd:") + memfd_name(kind) + " (deleted)") device = add_file(kind);
  }
  if (device.kind != device_kind::none) add_duplicate(fd, device);
  return device;
}

std::shared_ptr<device_file> file_of(const open_device& device) {
  auto& table = files();
  const std::lock_guard lock(table.mutex);
  const auto entry = table.files.find(device.id);
  return entry == table.files.end() ? nullptr : entry->second.file;
}

int open_device_file(device_kind kind, int flags) noexcept {
  if (attachment::current() == nullptr) return -1;
  return kind == device_kind::evtchn ? open_evtchn(flags) : open_memfd(kind, flags);
}

void add_duplicate(int fd, const open_device& device) noexcept {
  auto& table = files();
  if (!fits(fd) || table_owner != ::getpid()) return;
  if (has_file(device)) {
    const std::lock_guard lock(table.mutex);
    ++table.files[device.id].descriptors;
  }
  slot_of(fd).store(pack(device), std::memory_order_release);
}

open_device forget_descriptor(int fd) noexcept {
  if (find_device(fd).kind == device_kind::none || table_owner != ::getpid()) return {};
  return unpack(slot_of(fd).exchange(0, std::memory_order_acq_rel));
}

void finish_close(const open_device& device) noexcept {
  if (device.kind == device_kind::none) return;
  const int saved = errno;
  if (device.kind == device_kind::evtchn) {
    // Make the host check for the last reference now, so that the ports are free when close(2)
    // returns.
    if (auto* host = attachment::current()) (void)host->call(control_op::evtchn_closed, device.id);
  } else if (has_file(device)) {
    std::shared_ptr<device_file> last;
    auto& table = files();
    const std::lock_guard lock(table.mutex);
    if (const auto entry = table.files.find(device.id);
        entry != table.files.end() && --entry->second.descriptors == 0) {
      last = std::move(entry->second.file);
      table.files.erase(entry);
    }
  }
  errno = saved;
}

}  // namespace xenpv::sim::guest
