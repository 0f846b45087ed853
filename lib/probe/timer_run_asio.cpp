// Measures the timers of the event loop that the data path uses, and thus the accuracy of deadlines
// in xenpv's services. Asio sets a timerfd for the earliest timer, with a relative time in
// microseconds.
#include <boost/asio/steady_timer.hpp>

#include "probe/timer_run.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::probe {
namespace {

class asio_run {
 public:
  asio_run(asio::io_context& context, periods& schedule, std::chrono::nanoseconds end,
           const stop_flag& stop, live_figures& live)
      : timer_(context), schedule_(schedule), end_(end), stop_(stop), live_(live) {}

  void arm() {
    if (schedule_.due() >= end_ || stop_.is_set()) return;
    timer_.expires_at(asio::steady_timer::time_point(schedule_.due()));
    timer_.async_wait([this](const boost::system::error_code&) {
      schedule_.woke(monotonic_now());
      publish(schedule_, live_);
      arm();
    });
  }

 private:
  asio::steady_timer timer_;
  periods& schedule_;
  std::chrono::nanoseconds end_;
  const stop_flag& stop_;
  live_figures& live_;
};

}  // namespace

void run_asio(periods& schedule, std::chrono::nanoseconds end, const stop_flag& stop,
              live_figures& live) {
  asio::io_context context(1);
  asio_run run(context, schedule, end, stop, live);
  run.arm();
  context.run();
}

}  // namespace xenpv::probe
