// Tests a ublk device over a frontend, with a fake kernel driver: data, loss of the backend, save
// and restore, resize, and a server that replaces another one. Runs inside a simulated domain
// (tests/sim/CMakeLists.txt).
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "async/nursery.hpp"
#include "sim/block_device.hpp"
#include "sim/recovery_case.hpp"
#include "sim/simulated_toolstack.hpp"
#include "ublk/attachment.hpp"
#include "unit/ublk/played_kernel.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ublk::test::played_device;
using ublk::test::played_driver;
using ublk::test::user_request;
using request_pointer = std::shared_ptr<user_request>;

constexpr unsigned xvdb = 51728;  // two queues
constexpr unsigned xvdc = 51744;  // 4096-byte sectors
constexpr std::uint32_t sectors = 32;

std::string data_of(unsigned version, unsigned place) {
  std::string out(sectors * std::size_t{512}, '\0');
  std::mt19937 random(version * 1000 + place);
  for (auto& byte : out)
    byte = static_cast<char>(random());
  return out;
}

bool is_done(played_device& kernel, const request_pointer& request) {
  const std::lock_guard lock(kernel.mutex);
  return request->is_done;
}

asio::awaitable<void> all_done(async::runtime& runtime, played_device& kernel,
                               const std::vector<request_pointer>& requests) {
  co_await poll_until(runtime, [&] {
    return std::ranges::all_of(
        requests, [&](const request_pointer& request) { return is_done(kernel, request); });
  });
}

/// The users of a device: each writes versions of its place and reads them back.
class users {
 public:
  static constexpr unsigned places = 64;

  users(async::runtime& runtime, played_device& kernel) : runtime_(runtime), kernel_(kernel) {}

  /// Starts to write a new version to all places.
  void write() {
    ++version_;
    for (unsigned place = 0; place < places; ++place)
      pending_.push_back(
          kernel_.submit(place % kernel_.queues.size(),
                         {ublk::io_operation::write, place % 2 == 0 ? ublk::io_f_fua : 0U,
                          position(place), sectors, data_of(version_, place)}));
  }
  asio::awaitable<void> finish() {
    co_await all_done(runtime_, kernel_, pending_);
    for (const auto& request : pending_)
      EXPECT_EQ(request->result, static_cast<std::int32_t>(sectors * 512));
    pending_.clear();
  }
  asio::awaitable<void> verify() {
    std::vector<request_pointer> reads;
    for (unsigned place = 0; place < places; ++place)
      reads.push_back(kernel_.submit((place + 1) % kernel_.queues.size(),
                                     {ublk::io_operation::read, 0, position(place), sectors, {}}));
    co_await all_done(runtime_, kernel_, reads);
    for (unsigned place = 0; place < places; ++place)
      EXPECT_TRUE(reads[place]->data == data_of(version_, place)) << "place " << place;
  }

 private:
  static std::uint64_t position(unsigned place) { return std::uint64_t{place} * 2 * sectors; }

  async::runtime& runtime_;
  played_device& kernel_;
  unsigned version_ = 0;
  std::vector<request_pointer> pending_;
};

/// A disk with an attachment.
struct attached_case {
  async::runtime& runtime;
  frontend& disk;
  std::shared_ptr<played_driver> driver;
  ublk::attachment& attachment;
  played_device& kernel;
};

void with_attachment(unsigned number, bool keep,
                     std::function<asio::awaitable<void>(attached_case)> body) {
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    // A restarted backend of the simulator loses no completed writes, so no flush has to fail.
    blkfront::options settings;
    settings.trust_backend_cache = true;
    const auto disk = co_await frontend::open(runtime, path_of(number), settings);
    const auto driver = std::make_shared<played_driver>();
    driver->offered |= ublk::f_update_size;
    ublk::attachment_options options;
    options.keep = keep;
    options.process = ::getpid();
    ublk::attachment attached(runtime.control(), *disk, disk->shape(), driver, options);
    co_await attached.start();
    disk->on_change([&] { attached.reshape(disk->shape()); });
    async::nursery tasks(runtime.control());
    tasks.spawn(attached.run());
    // Named: g++ 12 destroys an aggregate temporary of a co_await expression twice.
    const attached_case attached_disk{runtime, *disk, driver, attached, *driver->devices.at(0)};
    co_await body(attached_disk);
    co_await attached.stop();
    co_await tasks.join();
    disk->on_change({});
    co_await disk->close();
  });
}

TEST(ublk_frontend, moves_data_through_granted_pages_on_every_queue) {
  for (const unsigned number : {xvdb, xvdc})
    with_attachment(number, false, [&](attached_case c) -> asio::awaitable<void> {
      EXPECT_EQ(c.attachment.plan().queues, c.disk.queue_count());
      EXPECT_FALSE(c.attachment.plan().copies);
      EXPECT_EQ(1U << c.kernel.parameters.basic.logical_bs_shift, number == xvdc ? 4096U : 512U);
      users load(c.runtime, c.kernel);
      for (unsigned round = 0; round < 3; ++round) {
        load.write();
        co_await load.finish();
        co_await load.verify();
      }
    });
}

TEST(ublk_frontend, pauses_while_the_backend_is_lost) {
  sim::simulated_toolstack toolstack;
  with_attachment(xvdb, false, [&](attached_case c) -> asio::awaitable<void> {
    users load(c.runtime, c.kernel);
    for (unsigned round = 0; round < 3; ++round) {
      load.write();
      co_await run_blocking(c.runtime, [&] { toolstack.restart(xvdb); });
      co_await load.finish();
      co_await load.verify();
    }
    EXPECT_GE(c.disk.recovery().reconnects, 1U);
  });
}

TEST(ublk_frontend, survives_save_and_restore) {
  sim::simulated_toolstack toolstack;
  with_attachment(xvdb, false, [&](attached_case c) -> asio::awaitable<void> {
    users load(c.runtime, c.kernel);
    load.write();
    co_await run_blocking(c.runtime, [&] { toolstack.save_restore(false, 1ms); });
    co_await load.finish();
    co_await load.verify();
  });
}

TEST(ublk_frontend, passes_a_resize_to_the_kernel) {
  sim::simulated_toolstack toolstack;
  with_attachment(xvdb, false, [&](attached_case c) -> asio::awaitable<void> {
    const auto size = c.disk.shape().size;
    const auto kernel_size = [&] {
      const std::lock_guard lock(c.kernel.mutex);
      return c.kernel.parameters.basic.dev_sectors * 512;
    };
    EXPECT_EQ(kernel_size(), size);
    co_await run_blocking(c.runtime, [&] { toolstack.resize(xvdb, size + (1U << 20U)); });
    co_await poll_until(c.runtime, [&] { return kernel_size() == size + (1U << 20U); });
  });
}

TEST(ublk_frontend, passes_the_device_to_the_next_server) {
  with_attachment(xvdb, true, [&](attached_case c) -> asio::awaitable<void> {
    users load(c.runtime, c.kernel);
    load.write();
    co_await c.attachment.leave();
    ublk::attachment_options options;
    options.keep = true;
    options.process = ::getpid();
    options.adopted = 0;
    ublk::attachment next(c.runtime.control(), c.disk, c.disk.shape(), c.driver, options);
    co_await next.start();
    async::nursery tasks(c.runtime.control());
    tasks.spawn(next.run());
    co_await load.finish();
    co_await load.verify();
    co_await next.stop();
    co_await tasks.join();
  });
}

}  // namespace
}  // namespace xenpv::blkfront
