// Notices that the guest was saved and restored, and carries out what has to happen first: the
// custodian is told, every event loop gives up its handle. Then those who asked for it are told.
//
// How: Linux re-registers every watch on resume, and each fires once (xs_resume), so a watch on
// `domid`, which nobody writes, fires then only. Whether it was a resume is asked of a node of our
// own: the restored guest's tree is built anew, so the node is gone. A cancelled suspend leaves
// both as they are; only the clocks tell of it (xen/suspend_clock.hpp). Another domain id, or
// another incarnation of the guest, is a resume whatever the node says. Owned by the runtime; lives
// on the control thread.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/store_client.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {

using resume_callbacks = std::list<std::function<void()>>;

class resume_guard {
 public:
  /// `suspends` is settled by every look. `handles`: gives up what a resume killed; its end is
  /// waited for before anybody is told.
  resume_guard(const asio::any_io_executor& control, store_client& store,
               xen::suspend_clock& suspends, std::function<asio::awaitable<void>()> handles);
  resume_guard(const resume_guard&) = delete;
  resume_guard& operator=(const resume_guard&) = delete;

  [[nodiscard]] asio::awaitable<void> start();
  /// Looks once more, so that a resume of the last moment is dealt with, then ends.
  [[nodiscard]] asio::awaitable<void> stop();
  /// True when the guest was resumed since the last look; all of it is done then.
  [[nodiscard]] asio::awaitable<bool> check();

  /// Has it looked for, because the guest was suspended. For the control thread.
  void doubt();

  [[nodiscard]] const std::shared_ptr<resume_callbacks>& callbacks() const noexcept {
    return callbacks_;
  }
  [[nodiscard]] const std::string& marker() const noexcept { return marker_; }
  [[nodiscard]] std::uint64_t resumes() const noexcept { return resumes_; }

 private:
  [[nodiscard]] asio::awaitable<void> follow(watch_stream watch);
  [[nodiscard]] asio::awaitable<void> look();
  [[nodiscard]] asio::awaitable<void> put_marker();
  [[nodiscard]] asio::awaitable<bool> has_resumed(const xen::suspend_reading& reading);
  [[nodiscard]] asio::awaitable<void> carry_out();

  store_client& store_;
  xen::suspend_clock& suspends_;
  std::function<asio::awaitable<void>()> handles_;
  std::shared_ptr<resume_callbacks> callbacks_ = std::make_shared<resume_callbacks>();
  nursery background_;
  std::string marker_;    ///< empty: there can be none here
  bool noticed_ = false;  ///< without a marker: the watch has fired since the last look
  bool started_ = false;
  bool busy_ = false;
  asio::steady_timer idle_;  ///< never expires; cancelled when a look has ended
  std::optional<domid> number_;
  std::uint64_t resumes_ = 0;
};

}  // namespace xenpv::async
