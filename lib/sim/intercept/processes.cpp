#include "sim/intercept/processes.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "xenpv/base/system_root.hpp"

namespace xenpv::sim::intercept {
namespace {

/// Returns the process of a thread, or 0.
pid_t read_process(pid_t thread) {
  constexpr std::string_view field = "\nTgid:\t";
  const auto status =
      system_root("/").read(fmt::format("/proc/{}/status", thread)).value_or(std::string());
  const auto found = status.find(field);
  return found == std::string::npos ? 0 : std::atoi(status.c_str() + found + field.size());
}

bool has_thread(pid_t process, pid_t thread) {
  return ::access(fmt::format("/proc/{}/task/{}", process, thread).c_str(), F_OK) == 0;
}

}  // namespace

processes::processes(reactor& events) : reactor_(events) {}

guest::attachment* processes::act_for(const system_call& call) {
  const auto id = process_of(call);
  auto entry = processes_.find(id);
  if (entry == processes_.end()) {
    process started;
    started.process_descriptor.reset(id == 0 ? -1
                                             : static_cast<int>(::syscall(SYS_pidfd_open, id, 0U)));
    if (!started.process_descriptor || !call.is_waiting()) {
      errno = ESRCH;
      return nullptr;
    }
    started.connection = guest::attachment::connect_for(id);
    if (started.connection == nullptr) return nullptr;
    reactor_.add(started.process_descriptor.get(), EPOLLIN,
                 [this, id](std::uint32_t) { forget(id); });
    entry = processes_.emplace(id, std::move(started)).first;
  }
  guest::attachment::set_current(entry->second.connection.get());
  return entry->second.connection.get();
}

pid_t processes::process_of(const system_call& call) {
  const auto thread = call.thread();
  if (processes_.contains(thread)) return thread;
  // Reading the status of a thread takes longer than most calls.
  const auto known = threads_.find(thread);
  if (known != threads_.end() && has_thread(known->second, thread)) return known->second;
  const auto id = read_process(thread);
  if (id != thread) threads_[thread] = id;
  return id;
}

void processes::forget(pid_t id) {
  const auto entry = processes_.find(id);
  if (entry == processes_.end()) return;
  guest::attachment::set_current(nullptr);
  std::erase_if(threads_, [&](const auto& thread) { return thread.second == id; });
  reactor_.remove(entry->second.process_descriptor.get());
  processes_.erase(entry);
}

}  // namespace xenpv::sim::intercept
