// One ring of one frontend, served on one CPU. Owns the engine, the mapped pages and the port.
//
// Constructed, used and destroyed on the thread of its executor. Does not access xenstore; reports
// its status to its disk. Pending handlers may outlive the server, because they use weak pointers.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <memory>

#include "blkback/engine.hpp"
#include "blkback/frontend_keys.hpp"
#include "blkback/mapped_memory.hpp"
#include "xenpv/async/event_loop.hpp"

namespace xenpv::blkback {

struct ring_status {
  bool idle = true;  ///< no consumed request is in flight in the store
  bool halted = false;
  bool vanished = false;
  friend bool operator==(const ring_status&, const ring_status&) = default;
};

struct ring_options {
  domid frontend{};
  ring_location location;
  engine_options engine;
  disk_faults faults;
  /// Called on the ring's thread when the ring's status may have changed.
  std::function<void(const ring_status&)> report;
};

class ring_server : public std::enable_shared_from_this<ring_server> {
 public:
  /// Maps the ring and binds the port. Throws `failure`.
  ring_server(asio::any_io_executor executor, async::event_loop& loop, const ring_options& options,
              std::unique_ptr<store> disk);
  /// The ring must have reported idle after stop().
  ~ring_server();
  ring_server(const ring_server&) = delete;
  ring_server& operator=(const ring_server&) = delete;

  /// Starts serving, including the requests that arrived before the port was bound.
  void start();
  /// Stops consuming requests. Calls ring_options::report when the ring is idle.
  void stop();
  void set_faults(const disk_faults& faults);
  void set_size(std::uint64_t size);

 private:
  void process();
  void process_soon();
  void schedule_held();
  void schedule_late();
  void cancel_late_timers();
  void report();
  void notify() noexcept;

  asio::any_io_executor executor_;
  std::function<void(const ring_status&)> report_;
  xen::grant_mapper mapper_;
  xen::mapped_grants ring_;
  mapped_memory pages_;
  std::unique_ptr<store> store_;
  engine engine_;
  async::bound_port port_;
  std::list<asio::steady_timer> timers_;  ///< for responses held back
  std::size_t scheduled_ = 0;             ///< responses held back that have a timer
  std::list<asio::steady_timer> late_timers_;
  std::size_t late_scheduled_ = 0;     ///< late writes that have a timer
  std::uint64_t late_generation_ = 0;  ///< late timers of earlier generations are ignored
  ring_status reported_;
  bool stopping_ = false;
};

}  // namespace xenpv::blkback
