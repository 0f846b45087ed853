// Interposed functions that take a path: they replace the files of device_paths.hpp. A path is
// compared as it is passed, so a device is not found through a symbolic link or relative to a
// directory descriptor.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>

#include "sim/guest/device_paths.hpp"
#include "sim/guest/libc.hpp"

namespace guest = xenpv::sim::guest;
using guest::path_kind;

namespace {

bool is_replaced(const guest::device_path& found) {
  return found.kind != path_kind::other;
}

/// Changes the facts about a regular file into those of a device.
template <class Facts>
void show_device(Facts& facts, guest::device_kind device, mode_t permissions) {
  facts.st_mode = guest::device_mode(permissions);
  facts.st_rdev = guest::device_number(device);
}

/// Handles fstat(2) and its variants. `result` is the C library's result.
template <class Facts>
int stat_descriptor(int fd, Facts* facts, int result) {
  const auto device = guest::find_device(fd).kind;
  if (result == 0 && device != guest::device_kind::none) show_device(*facts, device, 0600);
  return result;
}

/// True if the call is about the descriptor and not about a path.
bool is_about_descriptor(const char* path, int flags) {
  return (flags & AT_EMPTY_PATH) != 0 && (path == nullptr || *path == '\0');
}

template <class Facts, class Call>
int stat_path(const char* path, Facts* facts, Call call) {
  const auto found = guest::find_path(path);
  if (!is_replaced(found)) return call(path);
  const int result = call(guest::simulated_path(path).c_str());
  if (result == 0 && guest::is_device(found)) show_device(*facts, found.device, facts->st_mode);
  return result;
}

template <class Call>
auto with_path(const char* path, Call call) {
  if (!is_replaced(guest::find_path(path))) return call(path);
  return call(guest::simulated_path(path).c_str());
}

/// True if open(2) with these flags takes a mode.
bool takes_mode(int flags) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

template <class Call>
int open_any(const char* path, int flags, Call call) {
  const auto found = guest::find_path(path);
  return is_replaced(found) ? guest::open_path(found, path, flags) : call();
}

std::FILE* open_stream(const char* path, const char* mode,
                       std::FILE* (*function)(const char*, const char*)) {
  const auto found = guest::find_path(path);
  if (!is_replaced(found)) return function(path, mode);
  if (found.kind == path_kind::file) return function(guest::simulated_path(path).c_str(), mode);
  const int fd = guest::open_path(found, path, O_RDWR | O_CLOEXEC);
  return fd < 0 ? nullptr : ::fdopen(fd, mode);
}

}  // namespace

// The variants of one function differ only in their names, because off_t has 64 bits.
#define XENPV_SIM_OPEN(name)                                                           \
  int name(const char* path, int flags, ...) {                                         \
    static const auto function = guest::libc::next<int(const char*, int, ...)>(#name); \
    va_list arguments;                                                                 \
    va_start(arguments, flags);                                                        \
    const mode_t mode = takes_mode(flags) ? va_arg(arguments, mode_t) : mode_t{0};     \
    va_end(arguments);                                                                 \
    return open_any(path, flags, [&] { return function(path, flags, mode); });         \
  }

#define XENPV_SIM_OPENAT(name)                                                              \
  int name(int directory, const char* path, int flags, ...) {                               \
    static const auto function = guest::libc::next<int(int, const char*, int, ...)>(#name); \
    va_list arguments;                                                                      \
    va_start(arguments, flags);                                                             \
    const mode_t mode = takes_mode(flags) ? va_arg(arguments, mode_t) : mode_t{0};          \
    va_end(arguments);                                                                      \
    return open_any(path, flags, [&] { return function(directory, path, flags, mode); });   \
  }

#define XENPV_SIM_STAT(name, type)                                                         \
  int name(const char* path, struct type* facts) noexcept {                                \
    static const auto function = guest::libc::next<int(const char*, struct type*)>(#name); \
    return stat_path(path, facts, [&](const char* p) { return function(p, facts); });      \
  }

#define XENPV_SIM_FSTAT(name, type)                                                \
  int name(int fd, struct type* facts) noexcept {                                  \
    static const auto function = guest::libc::next<int(int, struct type*)>(#name); \
    return stat_descriptor(fd, facts, function(fd, facts));                        \
  }

#define XENPV_SIM_FSTATAT(name, type)                                                           \
  int name(int directory, const char* path, struct type* facts, int flags) noexcept {           \
    static const auto function =                                                                \
        guest::libc::next<int(int, const char*, struct type*, int)>(#name);                     \
    const auto call = [&](const char* p) { return function(directory, p, facts, flags); };      \
    if (is_about_descriptor(path, flags)) return stat_descriptor(directory, facts, call(path)); \
    return stat_path(path, facts, call);                                                        \
  }

#define XENPV_SIM_FXSTAT(name, type)                                                    \
  int name(int version, int fd, struct type* facts) noexcept {                          \
    static const auto function = guest::libc::next<int(int, int, struct type*)>(#name); \
    return stat_descriptor(fd, facts, function(version, fd, facts));                    \
  }

#define XENPV_SIM_XSTAT(name, type)                                                             \
  int name(int version, const char* path, struct type* facts) noexcept {                        \
    static const auto function = guest::libc::next<int(int, const char*, struct type*)>(#name); \
    return stat_path(path, facts, [&](const char* p) { return function(version, p, facts); });  \
  }

#define XENPV_SIM_ACCESS(name)                                                    \
  int name(const char* path, int mode) noexcept {                                 \
    static const auto function = guest::libc::next<int(const char*, int)>(#name); \
    return with_path(path, [&](const char* p) { return function(p, mode); });     \
  }

extern "C" {

XENPV_SIM_OPEN(open)
XENPV_SIM_OPEN(open64)
XENPV_SIM_OPEN(__open_2)
XENPV_SIM_OPEN(__open64_2)
XENPV_SIM_OPENAT(openat)
XENPV_SIM_OPENAT(openat64)
XENPV_SIM_OPENAT(__openat_2)
XENPV_SIM_OPENAT(__openat64_2)

XENPV_SIM_STAT(stat, stat)
XENPV_SIM_STAT(stat64, stat64)
XENPV_SIM_STAT(lstat, stat)
XENPV_SIM_STAT(lstat64, stat64)
XENPV_SIM_FSTAT(fstat, stat)
XENPV_SIM_FSTAT(fstat64, stat64)
XENPV_SIM_FSTATAT(fstatat, stat)
XENPV_SIM_FSTATAT(fstatat64, stat64)
// Programs that were linked with a C library older than 2.33 call these.
XENPV_SIM_XSTAT(__xstat, stat)
XENPV_SIM_XSTAT(__xstat64, stat64)
XENPV_SIM_XSTAT(__lxstat, stat)
XENPV_SIM_XSTAT(__lxstat64, stat64)
XENPV_SIM_FXSTAT(__fxstat, stat)
XENPV_SIM_FXSTAT(__fxstat64, stat64)

XENPV_SIM_ACCESS(access)
XENPV_SIM_ACCESS(eaccess)
XENPV_SIM_ACCESS(euidaccess)

int faccessat(int directory, const char* path, int mode, int flags) noexcept {
  static const auto function = guest::libc::next<int(int, const char*, int, int)>("faccessat");
  return with_path(path, [&](const char* p) { return function(directory, p, mode, flags); });
}

int statx(int directory, const char* path, int flags, unsigned mask, struct statx* facts) noexcept {
  static const auto function =
      guest::libc::next<int(int, const char*, int, unsigned, struct statx*)>("statx");
  const auto found = guest::find_path(path);
  auto device = guest::is_device(found) ? found.device : guest::device_kind::none;
  if (is_about_descriptor(path, flags)) device = guest::find_device(directory).kind;
  const int result =
      with_path(path, [&](const char* p) { return function(directory, p, flags, mask, facts); });
  if (result != 0 || device == guest::device_kind::none) return result;
  const mode_t permissions = is_about_descriptor(path, flags) ? 0600 : facts->stx_mode;
  facts->stx_mode = static_cast<__u16>(guest::device_mode(permissions));
  facts->stx_rdev_major = ::gnu_dev_major(guest::device_number(device));
  facts->stx_rdev_minor = ::gnu_dev_minor(guest::device_number(device));
  return 0;
}

std::FILE* fopen(const char* path, const char* mode) {
  static const auto function = guest::libc::next<std::FILE*(const char*, const char*)>("fopen");
  return open_stream(path, mode, function);
}

std::FILE* fopen64(const char* path, const char* mode) {
  static const auto function = guest::libc::next<std::FILE*(const char*, const char*)>("fopen64");
  return open_stream(path, mode, function);
}

ssize_t getxattr(const char* path, const char* name, void* value, std::size_t size) noexcept {
  static const auto function =
      guest::libc::next<ssize_t(const char*, const char*, void*, std::size_t)>("getxattr");
  return with_path(path, [&](const char* p) { return function(p, name, value, size); });
}

ssize_t lgetxattr(const char* path, const char* name, void* value, std::size_t size) noexcept {
  static const auto function =
      guest::libc::next<ssize_t(const char*, const char*, void*, std::size_t)>("lgetxattr");
  return with_path(path, [&](const char* p) { return function(p, name, value, size); });
}

DIR* opendir(const char* path) {
  static const auto function = guest::libc::next<DIR*(const char*)>("opendir");
  return with_path(path, [&](const char* p) { return function(p); });
}

}  // extern "C"
