#include "copy_progress.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>

#include "cli/progress.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::chrono::seconds interval(1);
constexpr auto mib = double{1U << 20U};

struct moved_bytes {
  std::uint64_t read = 0;
  std::uint64_t written = 0;
  [[nodiscard]] std::uint64_t sum() const noexcept { return read + written; }
};

asio::awaitable<moved_bytes> count(blkfront::frontend& device) {
  const auto queues = co_await device.statistics();
  moved_bytes out;
  for (const auto& queue : queues) {
    out.read += queue.operations[static_cast<std::size_t>(blk::operation::read)].bytes;
    out.written += queue.operations[static_cast<std::size_t>(blk::operation::write)].bytes;
  }
  co_return out;
}

/// Returns an empty string if no data moved in this direction.
std::string describe(std::string_view direction, std::uint64_t bytes, std::uint64_t size) {
  if (bytes == 0) return {};
  const auto part =
      size == 0 ? 0.0 : 100.0 * static_cast<double>(bytes) / static_cast<double>(size);
  return fmt::format(", {} {:.0f} MiB ({:.0f} % of its size)", direction,
                     static_cast<double>(bytes) / mib, part);
}

}  // namespace

asio::awaitable<void> show_copy_progress(asio::any_io_executor control, served_disk& disk) {
  cli::progress_line line;
  if (!line.is_wanted()) co_return;
  asio::steady_timer timer(control);
  moved_bytes before;
  auto sampled = std::chrono::steady_clock::now();
  for (;;) {
    timer.expires_after(interval);
    co_await timer.async_wait(asio::use_awaitable);
    const auto now = co_await count(disk.device);
    const auto last_sampled = std::exchange(sampled, std::chrono::steady_clock::now());
    const auto seconds = std::chrono::duration<double>(sampled - last_sampled).count();
    const auto size = disk.device.shape().size;
    if (now.sum() != 0)
      line.show(fmt::format("{}{}{}: {:.0f} MiB/s", disk.name, describe("read", now.read, size),
                            describe("written", now.written, size),
                            static_cast<double>(now.sum() - before.sum()) / mib / seconds));
    before = now;
  }
}

}  // namespace xenpv::disk_app
