// A fake of libxenstore's C functions: nodes in a flat map, watches with a real pipe, transactions
// that can be made to fail, and a connection that can be lost. Replaces the library in each program
// that includes this header. The C functions are called on one thread, and the test controls the
// fake from another.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

struct xs_handle {
  int read_end;
  int write_end;
};

namespace xenpv::async::test {

class fake_store {
 public:
  std::mutex lock;
  std::map<std::string, std::string> nodes;
  std::set<std::string> forbidden;                        ///< unreadable nodes
  std::set<std::pair<std::string, std::string>> watches;  ///< (path, token)
  std::deque<std::pair<std::string, std::string>> events;
  xs_handle* handle = nullptr;
  bool lost = false;
  int conflicts = 0;                        ///< how many of the next commits fail with EAGAIN
  std::set<std::string> removed_by_rivals;  ///< nodes removed by each conflict
  std::thread::id last_thread;

  /// Breaks the connection without waking any reader.
  void lose() {
    const std::lock_guard guard(lock);
    lost = true;
  }
  void change(const std::string& path, const std::string& value) {
    const std::lock_guard guard(lock);
    set(path, value);
  }
  void meet_conflicts(int commits) {
    const std::lock_guard guard(lock);
    conflicts = commits;
  }
  /// Makes the next commit conflict with a removal of `path`.
  void meet_removal_of(const std::string& path) {
    const std::lock_guard guard(lock);
    conflicts = 1;
    removed_by_rivals = {path};
  }
  [[nodiscard]] bool was_last_called_on(std::thread::id thread) {
    const std::lock_guard guard(lock);
    return last_thread == thread;
  }
  [[nodiscard]] std::size_t watch_count() {
    const std::lock_guard guard(lock);
    return watches.size();
  }
  [[nodiscard]] bool is_open() {
    const std::lock_guard guard(lock);
    return handle != nullptr;
  }

  // Call the functions below with `lock` held.
  void set(const std::string& path, const std::string& value) {
    nodes[path] = value;
    for (const auto& [watched, token] : watches) {
      if (path == watched || path.starts_with(watched + "/")) queue(path, token);
    }
  }
  void queue(const std::string& path, const std::string& token) {
    // Like libxenstore, keeps one byte in the pipe while the event list is not empty.
    if (events.empty() && ::write(handle->write_end, "", 1) != 1) std::abort();
    events.emplace_back(path, token);
  }
  bool refuse(int error) {
    errno = error;
    return false;
  }
  bool enter() {
    last_thread = std::this_thread::get_id();
    return lost ? refuse(EBADF) : true;
  }
};

inline fake_store xenstore;

inline char* copy_of(const std::string& text) {
  return ::strdup(text.c_str());
}

}  // namespace xenpv::async::test

extern "C" {

[[gnu::used]] inline xs_handle* xs_open(unsigned long) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return nullptr;
  return store.handle = new xs_handle{ends[0], ends[1]};
}
[[gnu::used]] inline void xs_close(xs_handle* handle) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (handle == nullptr) return;
  ::close(handle->read_end);
  ::close(handle->write_end);
  delete handle;
  store.handle = nullptr;
  store.nodes.clear();
  store.forbidden.clear();
  store.watches.clear();
  store.events.clear();
  store.lost = false;
  store.conflicts = 0;
  store.removed_by_rivals.clear();
}
[[gnu::used]] inline void* xs_read(xs_handle*, std::uint32_t, const char* path, unsigned* length) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (!store.enter()) return nullptr;
  if (store.forbidden.contains(path)) {
    errno = EACCES;
    return nullptr;
  }
  const auto found = store.nodes.find(path);
  if (found == store.nodes.end()) {
    errno = ENOENT;
    return nullptr;
  }
  *length = static_cast<unsigned>(found->second.size());
  return xenpv::async::test::copy_of(found->second);
}
[[gnu::used]] inline char** xs_directory(xs_handle*, std::uint32_t, const char* path,
                                         unsigned* count) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (!store.enter()) return nullptr;
  std::set<std::string> names;
  std::size_t size = 0;
  const auto prefix = std::string(path) + "/";
  for (const auto& [node, value] : store.nodes) {
    if (!node.starts_with(prefix)) continue;
    const auto name = node.substr(prefix.size());
    names.insert(name.substr(0, name.find('/')));
  }
  for (const auto& name : names)
    size += sizeof(char*) + name.size() + 1;
  if (names.empty() && !store.nodes.contains(path)) {
    errno = ENOENT;
    return nullptr;
  }
  // One block: the pointers, then the strings.
  auto* const block = static_cast<char**>(std::malloc(size + 1));
  auto* text = reinterpret_cast<char*>(block + names.size());
  *count = 0;
  for (const auto& name : names) {
    block[(*count)++] = std::strcpy(text, name.c_str());
    text += name.size() + 1;
  }
  return block;
}
[[gnu::used]] inline bool xs_write(xs_handle*, std::uint32_t, const char* path, const void* data,
                                   unsigned length) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (!store.enter()) return false;
  store.set(path, std::string(static_cast<const char*>(data), length));
  return true;
}
[[gnu::used]] inline bool xs_rm(xs_handle*, std::uint32_t, const char* path) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  return store.enter() && (store.nodes.erase(path) != 0 || store.refuse(ENOENT));
}
[[gnu::used]] inline char* xs_get_domain_path(xs_handle*, unsigned domid) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (!store.enter()) return nullptr;
  return xenpv::async::test::copy_of("/local/domain/" + std::to_string(domid));
}
[[gnu::used]] inline bool xs_is_domain_introduced(xs_handle*, unsigned domid) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  return store.enter() && domid == 0;
}
[[gnu::used]] inline std::uint32_t xs_transaction_start(xs_handle*) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  return store.enter() ? 1 : 0;
}
[[gnu::used]] inline bool xs_transaction_end(xs_handle*, std::uint32_t, bool abort) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (!store.enter()) return false;
  if (abort || store.conflicts == 0) return true;
  --store.conflicts;
  for (const auto& path : store.removed_by_rivals)
    store.nodes.erase(path);
  return store.refuse(EAGAIN);
}
[[gnu::used]] inline bool xs_watch(xs_handle*, const char* path, const char* token) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (!store.enter()) return false;
  if (!store.watches.emplace(path, token).second) return store.refuse(EEXIST);
  store.queue(path, token);
  return true;
}
[[gnu::used]] inline bool xs_unwatch(xs_handle*, const char* path, const char* token) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  return store.enter() && (store.watches.erase({path, token}) != 0 || store.refuse(ENOENT));
}
[[gnu::used]] inline int xs_fileno(xs_handle* handle) {
  return handle->read_end;
}
[[gnu::used]] inline char** xs_check_watch(xs_handle* handle) {
  auto& store = xenpv::async::test::xenstore;
  const std::lock_guard guard(store.lock);
  if (store.events.empty()) {
    errno = store.lost ? EINVAL : EAGAIN;
    return nullptr;
  }
  const auto [path, token] = store.events.front();
  store.events.pop_front();
  char eaten = 0;
  if (store.events.empty() && ::read(handle->read_end, &eaten, 1) != 1) std::abort();
  // One block: two pointers, then the strings.
  auto* block =
      static_cast<char**>(std::malloc(2 * sizeof(char*) + path.size() + token.size() + 2));
  block[0] = reinterpret_cast<char*>(block + 2);
  block[1] = std::strcpy(block[0], path.c_str()) + path.size() + 1;
  std::strcpy(block[1], token.c_str());
  return block;
}

}  // extern "C"
