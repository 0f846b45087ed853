#include "xen/cleanup.hpp"

#include <poll.h>

#include <algorithm>
#include <limits>

#include "xenpv/base/log.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::xen {
namespace {

using std::chrono::milliseconds;
using time_point = std::chrono::steady_clock::time_point;

class xenstore_cleanup final : public cleanup_store {
 public:
  void write(const std::string& path, const std::string& value) override {
    store_.write(path, value);
  }
  void remove(const std::string& path) override { store_.remove(path); }
  std::optional<std::string> read(const std::string& path) override {
    return store_.read_if_exists(path);
  }
  void watch(const std::string& path) override { store_.watch(path, path); }
  void unwatch(const std::string& path) override { store_.unwatch(path, path); }
  void wait_for_change(milliseconds at_most) override {
    pollfd entry{.fd = store_.watch_descriptor(), .events = POLLIN, .revents = 0};
    const auto timeout =
        std::min<milliseconds::rep>(at_most.count(), std::numeric_limits<int>::max());
    // Early returns (EINTR included) are harmless: the caller checks the node and the clock.
    ::poll(&entry, 1, static_cast<int>(timeout));
    while (store_.next_event())
      continue;
  }
  time_point now() override { return std::chrono::steady_clock::now(); }

 private:
  store store_ = store::open();
};

/// Watches a path for the duration of one wait.
class watched_path {
 public:
  watched_path(cleanup_store& store, const std::string& path) : store_(store), path_(path) {
    store_.watch(path_);
  }
  watched_path(const watched_path&) = delete;
  watched_path& operator=(const watched_path&) = delete;
  ~watched_path() {
    try {
      store_.unwatch(path_);
    } catch (const std::exception& e) {
      log().warn("cleanup: {}", e.what());
    }
  }

 private:
  cleanup_store& store_;
  const std::string& path_;
};

struct step_runner {
  cleanup_store& store;
  time_point end_of_all_waits;

  void operator()(const cleanup_write& step) const { store.write(step.path, step.value); }

  void operator()(const cleanup_remove& step) const { store.remove(step.path); }

  void operator()(const cleanup_wait& step) const {
    const watched_path watched(store, step.path);
    const auto start = store.now();
    const auto time_left = std::max(end_of_all_waits - start, time_point::duration::zero());
    // Compare in milliseconds: the limit of a step may exceed the range of the clock.
    const auto allowed =
        std::min(step.at_most, std::chrono::duration_cast<milliseconds>(time_left));
    for (;;) {
      const auto value = store.read(step.path);
      if (!value || std::ranges::find(step.values, *value) != step.values.end()) return;
      const auto left = std::chrono::ceil<milliseconds>(start + allowed - store.now());
      if (left <= milliseconds::zero()) {
        log().warn("cleanup: {} is still {} after {} ms", step.path, *value, allowed.count());
        return;
      }
      store.wait_for_change(left);
    }
  }
};

}  // namespace

std::unique_ptr<cleanup_store> open_cleanup_store() {
  return std::make_unique<xenstore_cleanup>();
}

void run_cleanups(std::span<const named_cleanup> cleanups, cleanup_store& store,
                  milliseconds limit) {
  const step_runner run{store, store.now() + limit};
  for (const auto& cleanup : cleanups) {
    for (const auto& step : cleanup.steps) {
      try {
        std::visit(run, step);
      } catch (const std::exception& e) {
        log().warn("cleanup of {}: {}", cleanup.name, e.what());
      }
    }
  }
}

}  // namespace xenpv::xen
