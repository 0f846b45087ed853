#include "base/log_queue.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace xenpv {
namespace {

/// How long to wait for a thread that was told to give up.
constexpr std::chrono::milliseconds abandon_limit(500);

}  // namespace

void log_queue::batch::reserve() {
  bytes.reserve(capacity);
  records.reserve(most_messages);
}

void log_queue::batch::clear() noexcept {
  bytes.clear();
  records.clear();
  dropped = 0;
}

log_queue::log_queue(writer write, line_format format)
    : write_(std::move(write)), format_(std::move(format)) {
  waiting_.reserve();
  writing_.reserve();
}

void log_queue::start(const std::shared_ptr<log_queue>& queue) {
  // Signals are for the threads of the program.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    queue->thread_ = std::thread([queue] { queue->run(); });
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void log_queue::push(const log_message& message) noexcept {
  const std::lock_guard lock(mutex_);
  const auto size = message.line.size() + message.text.size();
  // Once a message is dropped, all are, until the thread has caught up: the order stays true.
  if (waiting_.dropped > 0 || size > capacity - waiting_.bytes.size() ||
      waiting_.records.size() == most_messages) {
    ++waiting_.dropped;
    return;
  }
  // Within the reserved capacity, so this neither allocates nor throws.
  waiting_.bytes.append(message.line).append(message.text);
  waiting_.records.push_back({message.level, message.line.size(), message.text.size()});
  changed_.notify_all();
}

bool log_queue::flush(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [&] { return waiting_.is_empty() && !is_writing_; });
}

void log_queue::stop(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  const auto has_ended = [&] { return ended_; };
  if (!changed_.wait_for(lock, limit, has_ended)) {
    abandoned_ = true;
    changed_.wait_for(lock, abandon_limit, has_ended);
  }
  const bool ended = ended_;
  const pid_t id = thread_id_;
  lock.unlock();
  if (!ended) {
    thread_.detach();
    return;
  }
  thread_.join();
  // The kernel counts a joined thread for a moment longer, but a custodian can only be forked by a
  // process with a single thread.
  while (::syscall(SYS_tgkill, ::getpid(), id, 0) == 0)
    ::sched_yield();
}

bool log_queue::is_abandoned() {
  const std::lock_guard lock(mutex_);
  return abandoned_;
}

void log_queue::run() {
  ::pthread_setname_np(::pthread_self(), "xenpv-log");
  std::unique_lock lock(mutex_);
  thread_id_ = static_cast<pid_t>(::syscall(SYS_gettid));
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.is_empty(); });
    if (abandoned_ || waiting_.is_empty()) break;
    std::swap(waiting_, writing_);
    is_writing_ = true;
    lock.unlock();
    write(writing_);
    writing_.clear();
    lock.lock();
    is_writing_ = false;
    changed_.notify_all();
  }
  ended_ = true;
  changed_.notify_all();
}

void log_queue::write(const batch& messages) {
  const std::function<bool()> is_abandoned = [this] { return this->is_abandoned(); };
  std::string_view rest = messages.bytes;
  for (const auto& entry : messages.records) {
    const auto line = rest.substr(0, entry.line);
    const auto text = rest.substr(entry.line, entry.text);
    rest.remove_prefix(entry.line + entry.text);
    write_({entry.level, line, text}, is_abandoned);
  }
  if (messages.dropped == 0) return;
  const auto text = describe_dropped_messages(messages.dropped);
  const auto line = format_(log_level::warning, text);
  write_({log_level::warning, line, text}, is_abandoned);
}

}  // namespace xenpv
