#include "sim/guest/attachment.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include "sim/guest/cancellation_guard.hpp"
#include "sim/guest/libc.hpp"
#include "sim/socket_message.hpp"

namespace xenpv::sim::guest {
namespace {

// Never destroyed: exit handlers of other libraries may call the C API.
alignas(attachment) unsigned char storage[sizeof(attachment)];
std::atomic<attachment*> instance{nullptr};
std::mutex creation;

/// Blocks SIGPIPE for this thread, and discards a SIGPIPE that this thread raised. Needed because
/// write(2), unlike send(2), does not accept MSG_NOSIGNAL.
class sigpipe_guard {
 public:
  sigpipe_guard() noexcept {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~sigpipe_guard() {
    const int saved = errno;
    if (saved == EPIPE && sigismember(&before_, SIGPIPE) == 0) {
      const timespec now{};
      sigtimedwait(&pipe_, nullptr, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = saved;
  }
  sigpipe_guard(const sigpipe_guard&) = delete;
  sigpipe_guard& operator=(const sigpipe_guard&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
};

}  // namespace

attachment* attachment::current() noexcept {
  if (auto* existing = instance.load(std::memory_order_acquire)) return existing;
  const cancellation_guard guard;
  const std::lock_guard lock(creation);
  if (auto* existing = instance.load(std::memory_order_acquire)) return existing;
  auto* fresh = new (storage) attachment;
  if (!fresh->connect(0)) {
    const int saved = errno;
    fresh->~attachment();
    errno = saved;
    return nullptr;
  }
  static const int registered = pthread_atfork(nullptr, nullptr, &attachment::forget_after_fork);
  (void)registered;
  instance.store(fresh, std::memory_order_release);
  return fresh;
}

std::unique_ptr<attachment> attachment::connect_for(pid_t process) noexcept {
  std::unique_ptr<attachment> fresh(new (std::nothrow) attachment);
  if (fresh == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  if (fresh->connect(process)) return fresh;
  const int saved = errno;
  fresh.reset();
  errno = saved;
  return nullptr;
}

void attachment::set_current(attachment* connection) noexcept {
  instance.store(connection, std::memory_order_release);
}

attachment::~attachment() {
  close_descriptors();
}

void attachment::close_descriptors() noexcept {
  for (auto& cached : memories_)
    if (cached.fd >= 0) ::close(cached.fd);
  for (auto& word : wakers_)
    if (const auto value = word.load(); value != 0)
      ::close(static_cast<int>(value & 0xffffffff) - 1);
  if (state_ != nullptr) ::munmap(static_cast<void*>(state_), sizeof(shared_state));
}

void attachment::forget_after_fork() noexcept {
  // The host detects the parent's exit when the parent's connection closes, so the child must not
  // keep that connection open. Threads that do not exist in the child may hold locks, so do not
  // destroy anything; only rebuild it.
  auto* old = instance.exchange(nullptr);
  new (&creation) std::mutex;
  if (old == nullptr) return;
  ::close(old->socket_.get());
  old->close_descriptors();
}

bool attachment::connect(pid_t process) noexcept {
  const char* directory = std::getenv("XENPV_SIM_DIR");
  if (directory == nullptr) {
    errno = ENODEV;
    return false;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  constexpr const char* name = "/control";
  if (std::strlen(directory) + std::strlen(name) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  std::strcpy(address.sun_path, directory);
  std::strcat(address.sun_path, name);
  socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket_ ||
      ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return false;
  auto hello = call(control_op::hello, shared_magic, static_cast<std::uint64_t>(process));
  if (hello.error != 0 || !hello.fd) {
    errno = hello.error != 0 ? hello.error : EPROTO;
    return false;
  }
  void* memory =
      ::mmap(nullptr, sizeof(shared_state), PROT_READ | PROT_WRITE, MAP_SHARED, hello.fd.get(), 0);
  if (memory == MAP_FAILED) return false;
  state_ = static_cast<shared_state*>(memory);
  slot_ = static_cast<std::uint8_t>(hello.a);
  if (state_->magic == shared_magic && state_->size == sizeof(shared_state)) return true;
  // The host is a different build and may have a different table layout.
  ::munmap(std::exchange(state_, nullptr), sizeof(shared_state));
  errno = EPROTO;
  return false;
}

host_answer attachment::call(control_op op, std::uint64_t a, std::uint64_t b, std::uint64_t c,
                             std::span<const std::uint32_t> words) noexcept {
  host_answer out;
  const cancellation_guard guard;
  const control_request request{op, static_cast<std::uint32_t>(words.size()), a, b, c};
  control_reply reply{};
  out.words.resize(control_words_max);
  const std::lock_guard lock(mutex_);
  if (!send_message(socket_.get(), &request, sizeof request, words.data(), words.size_bytes())) {
    out.error = errno == EPIPE ? ECONNREFUSED : errno;
    return out;
  }
  const auto bytes = receive_message(socket_.get(), &reply, sizeof reply, out.words.data(),
                                     out.words.size() * sizeof(std::uint32_t), out.fd);
  if (bytes < 0 || static_cast<std::size_t>(bytes) != reply.count * sizeof(std::uint32_t)) {
    out.error = bytes < 0 && errno == 0 ? ECONNREFUSED : EPROTO;
    return out;
  }
  out.words.resize(reply.count);
  out.error = reply.error;
  out.a = reply.a;
  return out;
}

int attachment::memory(std::uint8_t slot) noexcept {
  const auto generation = state_->domains[slot].generation.load();
  const std::lock_guard lock(descriptors_mutex_);
  auto& cached = memories_[slot];
  if (cached.fd >= 0 && cached.generation == generation) return cached.fd;
  auto answer = call(control_op::memory, slot);
  if (answer.error != 0 || !answer.fd) {
    errno = answer.error != 0 ? answer.error : EPROTO;
    return -1;
  }
  if (cached.fd >= 0) ::close(cached.fd);
  cached = {generation, answer.fd.release()};
  return cached.fd;
}

int attachment::waker(std::uint16_t handle, std::uint32_t generation) noexcept {
  const auto known = wakers_[handle].load(std::memory_order_acquire);
  if (known >> 32 == generation) return static_cast<int>(known & 0xffffffff) - 1;
  const std::lock_guard lock(descriptors_mutex_);
  const auto old = wakers_[handle].load(std::memory_order_acquire);
  if (old >> 32 == generation) return static_cast<int>(old & 0xffffffff) - 1;
  auto answer = call(control_op::evtchn_waker, std::uint64_t{handle} << 32 | generation);
  if (answer.error != 0 || !answer.fd) return -1;
  int fd = answer.fd.get();
  if (old != 0)
    fd = ::dup3(fd, static_cast<int>(old & 0xffffffff) - 1, O_CLOEXEC);
  else
    (void)answer.fd.release();
  wakers_[handle].store(std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd + 1),
                        std::memory_order_release);
  return fd;
}

void attachment::write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) {
  const cancellation_guard uncancelled;
  const int fd = waker(handle, generation);
  if (fd < 0) return;
  const sigpipe_guard guard;
  // EPIPE: the reader has just closed the handle; the host will close the handle's ports.
  // Not libc::write(), because tests/tsan.supp names the function that writes.
  static const auto next_write = libc::next<ssize_t(int, const void*, std::size_t)>("write");
  [[maybe_unused]] const auto written = next_write(fd, &port, sizeof port);
}

}  // namespace xenpv::sim::guest
