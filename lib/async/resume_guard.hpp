// Detects and handles a save and restore of the guest: notifies the custodian, makes every event
// loop give up its handle, and then calls the subscribers.
//
// Detection: Linux re-registers every watch on resume, and each watch then fires once (xs_resume).
// A watch on `domid`, a node that is never written, fires only then. A marker node confirms the
// resume: a restored guest has a new tree, which lacks the marker. A cancelled suspend changes
// neither node; only the clocks show it (xen/suspend_clock.hpp). A change of the guest's domain ID
// or incarnation always means a resume. Owned by the guest session; runs on the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/async/store_client.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {

struct resume_subscriber {
  std::function<void()> callback;
  bool is_subscribed = true;
};
using resume_callbacks = std::list<std::shared_ptr<resume_subscriber>>;

class resume_guard {
 public:
  /// Every check acknowledges `suspends`. `give_up_handles` gives up the handles invalidated by a
  /// resume; it completes before any subscriber is called.
  resume_guard(const asio::any_io_executor& control, store_client& store,
               xen::suspend_clock& suspends,
               std::function<asio::awaitable<void>()> give_up_handles);
  resume_guard(const resume_guard&) = delete;
  resume_guard& operator=(const resume_guard&) = delete;

  [[nodiscard]] asio::awaitable<void> start();
  /// Runs a final check to handle a late resume, then stops.
  [[nodiscard]] asio::awaitable<void> stop();
  /// Returns true if the guest was resumed since the last check; the resume has then been handled.
  [[nodiscard]] asio::awaitable<bool> check();

  /// Starts a check without waiting for it. Call on the control thread after a suspend.
  void check_soon();

  [[nodiscard]] const std::shared_ptr<resume_callbacks>& callbacks() const noexcept {
    return callbacks_;
  }
  [[nodiscard]] const std::string& marker() const noexcept { return marker_; }
  [[nodiscard]] std::uint64_t resumes() const noexcept { return resumes_; }

 private:
  [[nodiscard]] asio::awaitable<void> follow(watch_stream watch);
  [[nodiscard]] asio::awaitable<void> check_and_log();
  [[nodiscard]] asio::awaitable<void> put_marker();
  [[nodiscard]] asio::awaitable<bool> has_resumed(const xen::suspend_reading& reading);
  [[nodiscard]] asio::awaitable<void> carry_out();

  store_client& store_;
  xen::suspend_clock& suspends_;
  std::function<asio::awaitable<void>()> give_up_handles_;
  std::shared_ptr<resume_callbacks> callbacks_ = std::make_shared<resume_callbacks>();
  nursery background_;
  std::string marker_;         ///< path of the marker node; empty if it cannot be written
  bool watch_fired_ = false;   ///< fired since the last check; used only without a marker
  bool is_unhandled_ = false;  ///< a resume was detected; carry_out() has not succeeded yet
  bool started_ = false;
  bool busy_ = false;
  signal idle_;  ///< notified when a check has finished
  std::optional<domid> own_domid_;
  std::uint64_t resumes_ = 0;
};

}  // namespace xenpv::async
