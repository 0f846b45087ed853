// A block device, a fake kernel driver and the attachment under test, on one event loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "played_kernel.hpp"
#include "ublk/attachment.hpp"
#include "unit/async/run_coroutine.hpp"
#include "unit/nbd/fake_device.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::ublk::test {

using async::test::run;
using nbd::test::fake_device;
using nbd::test::fake_options;
using namespace std::chrono_literals;

class attachment_rig {
 public:
  explicit attachment_rig(std::size_t queues = 2, fake_options settings = {})
      : device(std::vector<asio::any_io_executor>(queues,
                                                  asio::any_io_executor(context.get_executor())),
               settings) {
    options.token = 0x5EED;
    options.process = 4711;
    options.start_limit = 10s;
    options.drain_limit = 10s;
    options.takeover_limit = 10s;
    geometry = device.queue(0).shape();
  }
  ~attachment_rig() {
    for (std::size_t i = 0; i < device.queue_count(); ++i)
      device.queue(i).answer_all();
    async::test::run_until_dry(context);
  }
  attachment_rig(const attachment_rig&) = delete;
  attachment_rig& operator=(const attachment_rig&) = delete;

  attachment& make() {
    attached.emplace(context.get_executor(), device, geometry, driver, options);
    return *attached;
  }
  /// Runs `story` while the attachment runs, and then ends the attachment with stop().
  void serve(std::function<asio::awaitable<void>()> story) {
    run(context, serving(std::move(story)));
  }
  std::string failure_of(asio::awaitable<void> body) {
    try {
      run(context, std::move(body));
    } catch (const failure& problem) {
      return problem.what();
    }
    return "no failure";
  }
  /// Lets the event loop work until the request is done.
  asio::awaitable<void> finished(std::shared_ptr<user_request> request) {
    while (!request->is_done)
      co_await turn();
  }
  asio::awaitable<void> turn() { co_await asio::post(context, asio::use_awaitable); }
  [[nodiscard]] played_device& kernel(std::size_t index = 0) { return *driver->devices.at(index); }

  [[nodiscard]] std::uint64_t kernel_sectors() {
    const std::lock_guard lock(kernel().mutex);
    return kernel().parameters.basic.dev_sectors;
  }

  asio::io_context context{1};
  fake_device device;
  blk::geometry geometry;
  std::shared_ptr<played_driver> driver = std::make_shared<played_driver>();
  attachment_options options;
  std::optional<attachment> attached;

 private:
  asio::awaitable<void> serving(std::function<asio::awaitable<void>()> story) {
    auto& made = make();
    co_await made.start();
    async::nursery tasks(context.get_executor());
    tasks.spawn(made.run());
    std::exception_ptr problem;
    try {
      co_await story();
    } catch (...) {
      problem = std::current_exception();
    }
    co_await made.stop();
    co_await tasks.join();
    if (problem) std::rethrow_exception(problem);
  }
};

}  // namespace xenpv::ublk::test
