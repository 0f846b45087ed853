// Interposed functions that take a descriptor or an address: they direct requests on simulated
// devices to the drivers, and keep the tables of descriptors and pages up to date. Other
// descriptors and addresses cost one table lookup.
#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <memory>
#include <vector>

#include "sim/guest/evtchn.hpp"
#include "sim/guest/gntalloc.hpp"
#include "sim/guest/libc.hpp"
#include "sim/guest/mapped_pages.hpp"
#include "sim/guest/open_devices.hpp"

namespace guest = xenpv::sim::guest;
using guest::device_kind;

namespace {

/// True for the ioctls of Xen's drivers, all of which have type E, G or P and no direction.
bool is_xen_request(unsigned long request) {
  const auto type = _IOC_TYPE(request);
  return _IOC_DIR(request) == _IOC_NONE && (type == 'E' || type == 'G' || type == 'P');
}

int device_ioctl(const guest::open_device& device, int fd, unsigned long request, void* argument) {
  if (device.kind == device_kind::evtchn)
    return guest::evtchn_ioctl(device.id, fd, request, argument);
  if (device.kind == device_kind::xenbus) return guest::fail(ENOTTY);
  const auto file = guest::file_of(device);
  return file == nullptr ? guest::fail(EBADF) : file->ioctl(request, argument);
}

void* map(void* address, std::size_t size, int protection, int flags, int fd, off_t offset) {
  // MAP_FIXED also unmaps previous mappings. Their owners are released at the end.
  const auto replaced = (flags & MAP_FIXED) != 0
                            ? guest::forget_pages(address, size)
                            : std::vector<std::shared_ptr<guest::mapped_object>>{};
  const auto device = guest::find_device(fd);
  if (device.kind == device_kind::none || (flags & MAP_ANONYMOUS) != 0)
    return guest::libc::mmap(address, size, protection, flags, fd, offset);
  const auto file = guest::file_of(device);
  if (file != nullptr) return file->mmap(address, size, protection, flags, offset);
  errno = ENODEV;  // evtchn cannot be mapped
  return MAP_FAILED;
}

/// Registers the result of a duplicating call.
int duplicated(int fd, int original) {
  if (fd < 0 || fd == original) return fd;
  if (const auto device = guest::find_device(original); device.kind != device_kind::none)
    guest::add_duplicate(fd, device);
  return fd;
}

/// Closes the devices in a range of descriptors. With a flag such as CLOSE_RANGE_CLOEXEC, the
/// descriptors stay open.
void close_devices(unsigned first, unsigned last, int flags) {
  if (flags != 0) return;
  for (unsigned fd = first; fd <= std::min(last, 65535U); ++fd)
    if (guest::find_device(static_cast<int>(fd)).kind != device_kind::none)
      (void)::close(static_cast<int>(fd));
}

int duplicate_to(int (*call)(int, int, int), int original, int fd, int flags) {
  if (fd == original) return call(original, fd, flags);
  const auto replaced = guest::forget_descriptor(fd);
  const int result = duplicated(call(original, fd, flags), original);
  if (result >= 0)
    guest::finish_close(replaced);
  else if (replaced.kind != device_kind::none)
    guest::add_duplicate(fd, replaced);
  return result;
}

int next_dup3(int original, int fd, int flags) {
  static const auto function = guest::libc::next<int(int, int, int)>("dup3");
  return function(original, fd, flags);
}

int next_dup2(int original, int fd, int) {
  static const auto function = guest::libc::next<int(int, int)>("dup2");
  return function(original, fd);
}

}  // namespace

extern "C" {

int ioctl(int fd, unsigned long request, ...) noexcept {
  static const auto function = guest::libc::next<int(int, unsigned long, ...)>("ioctl");
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (is_xen_request(request)) {
    const auto device = guest::recognise_device(fd);
    if (device.kind != device_kind::none) return device_ioctl(device, fd, request, argument);
  }
  return function(fd, request, argument);
}

ssize_t read(int fd, void* bytes, std::size_t size) {
  if (guest::find_device(fd).kind != device_kind::evtchn) return guest::libc::read(fd, bytes, size);
  const auto whole = guest::evtchn_read_size(size);
  return whole == 0 ? 0 : guest::libc::read(fd, bytes, whole);
}

ssize_t write(int fd, const void* bytes, std::size_t size) {
  const auto device = guest::find_device(fd);
  return device.kind == device_kind::evtchn ? guest::evtchn_write(device.id, bytes, size)
                                            : guest::libc::write(fd, bytes, size);
}

ssize_t writev(int fd, const iovec* parts, int count) {
  static const auto function = guest::libc::next<ssize_t(int, const iovec*, int)>("writev");
  const auto device = guest::find_device(fd);
  if (device.kind != device_kind::evtchn) return function(fd, parts, count);
  ssize_t total = 0;
  for (int i = 0; i < count; ++i)
    total += guest::evtchn_write(device.id, parts[i].iov_base, parts[i].iov_len);
  return total;
}

void* mmap(void* address, std::size_t size, int protection, int flags, int fd,
           off_t offset) noexcept {
  return map(address, size, protection, flags, fd, offset);
}

void* mmap64(void* address, std::size_t size, int protection, int flags, int fd,
             off64_t offset) noexcept {
  return map(address, size, protection, flags, fd, offset);
}

int munmap(void* address, std::size_t size) noexcept {
  auto owners = guest::forget_pages(address, size);
  const int result = guest::libc::munmap(address, size);
  if (owners.empty()) return result;
  const int saved = errno;
  owners.clear();
  guest::end_released_grants();
  errno = saved;
  return result;
}

int close(int fd) {
  const auto device = guest::forget_descriptor(fd);
  const int result = guest::libc::close(fd);
  guest::finish_close(device);
  return result;
}

int close_range(unsigned first, unsigned last, int flags) noexcept {
  static const auto function = guest::libc::next<int(unsigned, unsigned, int)>("close_range");
  close_devices(first, last, flags);
  return function(first, last, flags);
}

void closefrom(int first) noexcept {
  static const auto function = guest::libc::next<void(int)>("closefrom");
  close_devices(static_cast<unsigned>(std::max(first, 0)), ~0U, 0);
  function(first);
}

long syscall(long number, ...) noexcept {
  static const auto function =
      guest::libc::next<long(long, long, long, long, long, long, long)>("syscall");
  va_list arguments;
  va_start(arguments, number);
  std::array<long, 6> a{};
  for (auto& argument : a)
    argument = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_close) return close(static_cast<int>(a[0]));
  if (number == SYS_close_range)
    close_devices(static_cast<unsigned>(a[0]), static_cast<unsigned>(a[1]), static_cast<int>(a[2]));
  return function(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int dup(int fd) noexcept {
  static const auto function = guest::libc::next<int(int)>("dup");
  return duplicated(function(fd), fd);
}

int dup2(int original, int fd) noexcept {
  return duplicate_to(next_dup2, original, fd, 0);
}

int dup3(int original, int fd, int flags) noexcept {
  return duplicate_to(next_dup3, original, fd, flags);
}

int fcntl(int fd, int command, ...) {
  static const auto function = guest::libc::next<int(int, int, ...)>("fcntl");
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const int result = function(fd, command, argument);
  return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(result, fd) : result;
}

int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return fcntl(fd, command, argument);
}

}  // extern "C"
