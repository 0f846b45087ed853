#include "xen/cleanup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <map>

#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

/// Records calls of its functions. Its clock advances only in wait_for_change().
class scripted_store final : public cleanup_store {
 public:
  void write(const std::string& path, const std::string& value) override {
    if (path == refused) throw_errno(EACCES, "write " + path);
    calls.push_back("write " + path + "=" + value);
  }
  void remove(const std::string& path) override { calls.push_back("remove " + path); }
  std::optional<std::string> read(const std::string& path) override {
    const auto found = nodes.find(path);
    if (found == nodes.end()) return std::nullopt;
    return found->second;
  }
  void watch(const std::string& path) override { calls.push_back("watch " + path); }
  void unwatch(const std::string& path) override { calls.push_back("unwatch " + path); }
  void wait_for_change(milliseconds at_most) override {
    calls.push_back("wait " + std::to_string(at_most.count()));
    if (changes.empty()) {
      time_ += at_most;
      return;
    }
    time_ += milliseconds(10);
    changes.front()(nodes);
    changes.erase(changes.begin());
  }
  std::chrono::steady_clock::time_point now() override { return time_; }

  using node_map = std::map<std::string, std::string>;
  node_map nodes;
  /// The changes that successive calls of wait_for_change() apply, each after 10 ms. When none is
  /// left, calls wait for the whole timeout.
  std::vector<std::function<void(node_map&)>> changes;
  std::string refused;
  std::vector<std::string> calls;

 private:
  std::chrono::steady_clock::time_point time_{};
};

constexpr milliseconds plenty(60'000);

TEST(cleanup, runs_all_steps_in_order) {
  scripted_store store;
  const std::vector<named_cleanup> cleanups = {
      {"b", {cleanup_write{"state", "5"}, cleanup_remove{"data"}}},
      {"a", {cleanup_write{"other", "6"}}}};
  run_cleanups(cleanups, store, plenty);
  EXPECT_THAT(store.calls, ElementsAre("write state=5", "remove data", "write other=6"));
}

TEST(cleanup, continues_when_a_step_fails) {
  scripted_store store;
  store.refused = "state";
  const std::vector<named_cleanup> cleanups = {
      {"xvdb", {cleanup_write{"state", "5"}, cleanup_write{"state2", "6"}}}};
  testing::internal::CaptureStderr();
  run_cleanups(cleanups, store, plenty);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "xenpv: warning: cleanup of xvdb: write state: permission denied\n");
  EXPECT_THAT(store.calls, ElementsAre("write state2=6"));
}

TEST(cleanup, does_not_wait_for_a_value_that_is_already_set) {
  scripted_store store;
  store.nodes["b"] = "6";
  const std::vector<named_cleanup> cleanups = {
      {"n", {cleanup_wait{"b", {"5", "6"}, milliseconds(100)}}}};
  run_cleanups(cleanups, store, plenty);
  EXPECT_THAT(store.calls, ElementsAre("watch b", "unwatch b"));
}

TEST(cleanup, does_not_wait_for_a_missing_node) {
  scripted_store store;
  const std::vector<named_cleanup> cleanups = {
      {"n", {cleanup_wait{"b", {"6"}, milliseconds(100)}, cleanup_write{"state", "6"}}}};
  run_cleanups(cleanups, store, plenty);
  EXPECT_THAT(store.calls, ElementsAre("watch b", "unwatch b", "write state=6"));
}

TEST(cleanup, keeps_waiting_after_other_changes) {
  scripted_store store;
  store.nodes["b"] = "4";
  store.changes = {[](auto&) {}, [](auto& nodes) { nodes["b"] = "5"; },
                   [](auto& nodes) { nodes["b"] = "6"; }};
  const std::vector<named_cleanup> cleanups = {
      {"n", {cleanup_wait{"b", {"6"}, milliseconds(100)}}}};
  run_cleanups(cleanups, store, plenty);
  EXPECT_THAT(store.calls, ElementsAre("watch b", "wait 100", "wait 90", "wait 80", "unwatch b"));
}

TEST(cleanup, reports_an_expired_wait_and_continues) {
  scripted_store store;
  store.nodes["b"] = "4";
  const std::vector<named_cleanup> cleanups = {
      {"n", {cleanup_wait{"b", {"6"}, milliseconds(100)}, cleanup_write{"state", "6"}}}};
  testing::internal::CaptureStderr();
  run_cleanups(cleanups, store, plenty);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "xenpv: warning: cleanup: b is still 4 after 100 ms\n");
  EXPECT_THAT(store.calls, ElementsAre("watch b", "wait 100", "unwatch b", "write state=6"));
}

TEST(cleanup, limits_the_total_time_of_all_waits) {
  scripted_store store;
  store.nodes["b"] = "4";
  const cleanup_wait wait{"b", {"6"}, milliseconds::max()};
  const std::vector<named_cleanup> cleanups = {{"m", {wait, wait}},
                                               {"n", {wait, cleanup_write{"state", "6"}}}};
  testing::internal::CaptureStderr();
  run_cleanups(cleanups, store, milliseconds(250));
  testing::internal::GetCapturedStderr();
  EXPECT_THAT(store.calls, ElementsAre("watch b", "wait 250", "unwatch b", "watch b", "unwatch b",
                                       "watch b", "unwatch b", "write state=6"));
}

}  // namespace
}  // namespace xenpv::xen
