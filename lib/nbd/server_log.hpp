// Logs a server's messages about clients that it refuses or disconnects. Unauthenticated clients
// can cause these messages, so each kind is written at most once a second, with a count.
//
// Owned by a server, on its control thread.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string_view>

#include "base/limited_log.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::nbd {

class server_log : public std::enable_shared_from_this<server_log> {
 public:
  explicit server_log(const asio::any_io_executor& executor);

  void refused(std::string_view text) { write(refused_, text); }
  void evicted(std::string_view text) { write(evicted_, text); }
  void failed(std::string_view text) { write(failed_, text); }
  void waits(std::string_view text) { write(waiting_, text); }
  void cannot_accept(std::string_view text) { write(accept_errors_, text); }

  /// Writes all counts and stops the timer.
  void close();

 private:
  void write(limited_log& kind, std::string_view text);
  void flush(bool is_final);
  /// Starts the timer for the next count that is due.
  void schedule();

  asio::steady_timer timer_;
  bool is_scheduled_ = false;
  bool closed_ = false;
  limited_log refused_;
  limited_log evicted_;
  limited_log failed_;
  limited_log waiting_;
  limited_log accept_errors_;
};

}  // namespace xenpv::nbd
