#include "sim/intercept/device_calls.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/guest/evtchn.hpp"
#include "sim/guest/xen_abi.hpp"
#include "sim/intercept/hypercall_memory.hpp"
#include "sim/intercept/process_memory.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::intercept {
namespace {

std::string descriptor_path(const system_call& call, unsigned fd) {
  return fmt::format("/proc/{}/fd/{}", call.thread(), fd);
}

std::string descriptor_path(const system_call& call, int fd) {
  return descriptor_path(call, static_cast<unsigned>(fd));
}

/// A copy of the argument of an ioctl. No struct of these drivers is larger, and the drivers do not
/// change them.
class ioctl_argument {
 public:
  ioctl_argument(const system_call& call, std::uint32_t request) {
    const auto size = std::min<std::size_t>(_IOC_SIZE(request), bytes_.size());
    is_readable_ = call.argument(2) != 0 &&
                   (size == 0 || read_memory(call.thread(), call.argument(2), bytes_.data(), size));
  }

  /// Returns nullptr, for which the drivers fail with EFAULT, if it is not readable.
  [[nodiscard]] void* get() noexcept { return is_readable_ ? bytes_.data() : nullptr; }

 private:
  alignas(std::uint64_t) std::array<std::byte, sizeof(privcmd_hypercall_t)> bytes_{};
  bool is_readable_ = false;
};

bool is_open(guest::attachment& host, std::uint64_t handle) {
  return host.state().handles[handle >> 32].generation.load() == static_cast<std::uint32_t>(handle);
}

}  // namespace

device_calls::device_calls(processes& callers, const descriptor_range& evtchn, int pipe_descriptor)
    : processes_(callers), evtchn_range_(evtchn) {
  struct stat facts {};
  if (::fstat(pipe_descriptor, &facts) == 0) pipe_device_ = facts.st_dev;
}

void device_calls::open(system_call& call, guest::device_kind kind, int flags) {
  switch (kind) {
    case guest::device_kind::evtchn:
      open_evtchn(call, flags);
      return;
    case guest::device_kind::privcmd:
      open_privcmd(call, flags);
      return;
    case guest::device_kind::gntdev:
    case guest::device_kind::gntalloc:
    case guest::device_kind::xenbus:
    case guest::device_kind::none:
      break;
  }
  if (warned_.insert(kind).second)
    log().warn(
        "process {}: cannot open /dev/xen/{}: intercepting system calls cannot map pages "
        "(link the program dynamically)",
        call.thread(), kind == guest::device_kind::gntdev ? "gntdev" : "gntalloc");
  call.fail(ENODEV);
}

void device_calls::open_evtchn(system_call& call, int flags) {
  auto* host = processes_.act_for(call);
  if (host == nullptr) {
    call.fail(errno);
    return;
  }
  const auto number = find_free_descriptor(call);
  if (!number) {
    call.fail(EMFILE);
    return;
  }
  const auto opened = host->call(control_op::evtchn_open);
  struct stat facts {};
  if (opened.error != 0 || ::fstat(opened.fd.get(), &facts) != 0) {
    call.fail(opened.error != 0 ? opened.error : EPROTO);
    return;
  }
  if ((flags & O_NONBLOCK) != 0) ::fcntl(opened.fd.get(), F_SETFL, O_NONBLOCK);
  remember_handle(*host, facts.st_ino, opened.a);
  call.return_descriptor(opened.fd.get(), (flags & O_CLOEXEC) != 0, number);
}

void device_calls::open_privcmd(system_call& call, int flags) {
  if (processes_.act_for(call) == nullptr) {
    call.fail(errno);
    return;
  }
  const unique_fd file(::memfd_create(guest::memfd_name(guest::device_kind::privcmd), MFD_CLOEXEC));
  if (file)
    call.return_descriptor(file.get(), (flags & O_CLOEXEC) != 0);
  else
    call.fail(errno);
}

std::optional<unsigned> device_calls::find_free_descriptor(const system_call& call) const {
  struct stat facts {};
  for (unsigned fd = evtchn_range_.first; fd < evtchn_range_.end; ++fd)
    if (::lstat(descriptor_path(call, fd).c_str(), &facts) != 0 && errno == ENOENT) return fd;
  return std::nullopt;
}

std::optional<std::uint64_t> device_calls::find_handle(const system_call& call, int fd) {
  const auto path = descriptor_path(call, fd);
  struct stat link {};
  struct stat file {};
  // Unlike most pipes, evtchn is open for reading and writing.
  constexpr mode_t both = S_IRUSR | S_IWUSR;
  if (::lstat(path.c_str(), &link) != 0 || (link.st_mode & both) != both ||
      ::stat(path.c_str(), &file) != 0 || !S_ISFIFO(file.st_mode) || file.st_dev != pipe_device_)
    return std::nullopt;
  auto* host = processes_.act_for(call);
  if (host == nullptr) return std::nullopt;
  const auto known = handles_.find(file.st_ino);
  if (known != handles_.end() && is_open(*host, known->second)) return known->second;
  // Inherited from a process that uses libxensim.so.
  const auto adopted = host->call(control_op::evtchn_adopt, file.st_ino);
  if (adopted.error != 0) return std::nullopt;
  remember_handle(*host, file.st_ino, adopted.a);
  return adopted.a;
}

void device_calls::remember_handle(guest::attachment& host, ino_t file, std::uint64_t handle) {
  if (handles_.size() >= max_handles)
    std::erase_if(handles_, [&](const auto& entry) { return !is_open(host, entry.second); });
  handles_[file] = handle;
}

device_calls::open_privcmd_file device_calls::find_privcmd(const system_call& call, int fd) const {
  const auto path = descriptor_path(call, fd);
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return {};
  const inode id{facts.st_dev, facts.st_ino};
  if (const auto known = restricted_files_.find(id); known != restricted_files_.end())
    return {id, known->second};
  std::error_code ignored;
  if (std::filesystem::read_symlink(path, ignored) !=
      fmt::format("/memfd:{} (deleted)", guest::memfd_name(guest::device_kind::privcmd)))
    return {};
  return {id, std::make_shared<guest::privcmd_file>()};
}

void device_calls::ioctl(system_call& call) {
  const auto request = static_cast<std::uint32_t>(call.argument(1));
  if (_IOC_TYPE(request) == 'E')
    evtchn_ioctl(call, request);
  else
    privcmd_ioctl(call, request);
}

void device_calls::evtchn_ioctl(system_call& call, std::uint32_t request) {
  const auto fd = call.int_argument(0);
  const auto handle = find_handle(call, fd);
  if (!handle) {
    call.run_natively();
    return;
  }
  ioctl_argument argument(call, request);
  unique_fd ring;
  if (request == IOCTL_EVTCHN_RESET)
    ring.reset(::open(descriptor_path(call, fd).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!call.is_waiting()) return;
  call.return_result(guest::evtchn_ioctl(*handle, ring.get(), request, argument.get()));
}

void device_calls::privcmd_ioctl(system_call& call, std::uint32_t request) {
  const auto [id, file] = find_privcmd(call, call.int_argument(0));
  auto* host = file == nullptr ? nullptr : processes_.act_for(call);
  if (host == nullptr) {
    call.run_natively();
    return;
  }
  ioctl_argument argument(call, request);
  if (!call.is_waiting()) return;
  int result = 0;
  if (request == IOCTL_PRIVCMD_HYPERCALL && argument.get() != nullptr && host->allows_hypercalls())
    result = forward_hypercall(call, *file, *static_cast<privcmd_hypercall_t*>(argument.get()));
  else
    result = file->ioctl(request, argument.get());
  if (request == IOCTL_PRIVCMD_RESTRICT && result == 0) restricted_files_[id] = file;
  call.return_result(result);
}

void device_calls::write(system_call& call) {
  const remote_bytes part{call.argument(1), call.argument(2)};
  if (const auto handle = find_handle(call, call.int_argument(0)))
    unmask(call, *handle, {&part, 1});
  else
    call.run_natively();
}

void device_calls::writev(system_call& call) {
  static_assert(sizeof(remote_bytes) == sizeof(iovec));
  const auto count = static_cast<std::size_t>(call.argument(2));
  const auto handle = count > IOV_MAX ? std::nullopt : find_handle(call, call.int_argument(0));
  if (!handle) {
    call.run_natively();
    return;
  }
  std::vector<remote_bytes> parts(count);
  if (count == 0 ||
      read_memory(call.thread(), call.argument(1), parts.data(), count * sizeof(remote_bytes)))
    unmask(call, *handle, parts);
  else
    call.fail(errno);
}

void device_calls::unmask(system_call& call, std::uint64_t handle,
                          std::span<const remote_bytes> parts) {
  std::vector<char> bytes;
  std::int64_t written = 0;
  for (const auto& part : parts) {
    bytes.resize(std::min<std::size_t>(part.size, page_size));
    if (!bytes.empty() && !read_memory(call.thread(), part.address, bytes.data(), bytes.size())) {
      // Like the kernel, report the ports before the fault as written.
      call.return_result(written == 0 ? -1 : written);
      return;
    }
    if (!call.is_waiting()) return;
    written += guest::evtchn_write(handle, bytes.data(), bytes.size());
  }
  call.return_value(written);
}

}  // namespace xenpv::sim::intercept
