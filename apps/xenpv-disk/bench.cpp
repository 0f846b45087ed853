#include "bench.hpp"

#include <fmt/format.h>

#include <ostream>

#include "blk/uring_device.hpp"
#include "claim.hpp"
#include "cli/progress.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::disk_app {
namespace {

using blkfront::device_holder;

struct pattern {
  blk::operation op;
  bool random;
};

struct bench_options {
  std::string disk;
  std::optional<bench_engine> engine;
  std::optional<pattern> load;
  std::uint64_t block = 4096;
  unsigned depth = 32;
  std::chrono::nanoseconds time{};
  device_options device;
  bool overwrite = false;
  bool copy = false;
  bool histogram = false;
  bool json = false;
};

constexpr std::uint32_t large_block = 1U << 20U;

std::vector<named_load> loads_for(const bench_options& options) {
  std::vector<named_load> out;
  const auto add = [&](pattern access, std::uint32_t block, unsigned depth) {
    if (access.op == blk::operation::write && !options.overwrite) return;
    blk::workload load;
    load.op = access.op;
    load.random = access.random;
    load.block = block;
    load.depth = depth;
    load.time = options.time;
    load.in_place = !options.copy;
    out.push_back(name_load(load));
  };
  if (options.load) {
    add(*options.load, static_cast<std::uint32_t>(options.block), options.depth);
  } else {
    for (const auto op : {blk::operation::read, blk::operation::write}) {
      add({op, true}, 4096, 1);
      add({op, true}, 4096, 32);
      add({op, false}, large_block, 4);
    }
  }
  return out;
}

/// Runs every load on one device. Stops the benchmark if all requests of a load fail.
asio::awaitable<void> run_loads(blk::block_device& device, bench_engine engine,
                                const std::vector<named_load>& loads,
                                std::vector<bench_row>& rows) {
  cli::progress_line progress;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    progress.show(
        fmt::format("{}: {} ({} of {})", to_string(engine), loads[i].name, i + 1, loads.size()));
    const auto result = co_await blk::run(device, loads[i].workload);
    if (result.errors == result.requests && result.errors > 0)
      throw failure(result.first_error, fmt::format("{}: {}", to_string(engine), loads[i].name));
    rows.push_back({loads[i], engine, result});
  }
}

/// Runs the loads and closes the device. A template, because the two device classes do not inherit
/// close() from a common base.
template <class Device>
asio::awaitable<void> measure(Device& device, bench_engine engine, const bench_options& options,
                              std::vector<bench_row>& rows) {
  const auto loads = loads_for(options);
  auto close = [&] { return device.close(); };
  co_await async::finally(run_loads(device, engine, loads, rows), close);
}

asio::awaitable<void> measure_kernel(async::runtime& runtime, const blkfront::listed_device& disk,
                                     const bench_options& options, std::vector<bench_row>& rows) {
  const auto path = system_root::from_environment()
                        .path("/dev/" + disk.block_device.value_or(disk.name))
                        .string();
  std::vector<asio::any_io_executor> executors;
  const auto queues = options.device.frontend.queues.value_or(64);
  for (std::size_t i = 0; i < std::min<std::size_t>(runtime.cpus(), queues); ++i)
    executors.push_back(runtime.executor(i));
  blk::uring_device::options uring_options;
  uring_options.read_only = !options.overwrite;
  const auto device = blk::uring_device::open(path, executors, uring_options);
  co_await measure(*device, bench_engine::kernel, options, rows);
}

asio::awaitable<void> measure_xenpv(async::runtime& runtime, const blkfront::listed_device& disk,
                                    const bench_options& options, std::vector<bench_row>& rows) {
  std::string any_identity;
  const auto connected =
      co_await connect_disk(runtime, disk, options.device, std::move(any_identity));
  co_await measure(*connected.device, bench_engine::xenpv, options, rows);
}

/// Measures the kernel driver first: once that driver has released a disk, only the toolstack can
/// reliably return the disk to it.
asio::awaitable<void> bench(async::runtime& runtime, bench_options options,
                            std::vector<bench_row>& rows) {
  const auto held = co_await lock_disk(runtime, options.disk);
  const bool in_kernel = held.disk.holder == device_holder::kernel;
  if (options.engine == bench_engine::kernel && !in_kernel)
    throw failure(make_error_code(errc::not_available),
                  fmt::format("benchmark the kernel driver on {}", held.disk.name),
                  "it is not using the disk; reattach the disk, or use --engine xenpv");
  const bool only_kernel = !options.engine && in_kernel && !options.device.take;
  if (options.engine != bench_engine::kernel && !only_kernel)
    check_claim(held.disk, options.device);
  if (in_kernel && options.engine != bench_engine::xenpv)
    co_await measure_kernel(runtime, held.disk, options, rows);
  if (options.engine == bench_engine::kernel) co_return;
  if (only_kernel) {
    log().info("{}: the kernel driver is using it; use --take to measure xenpv as well",
               held.disk.name);
    co_return;
  }
  co_await measure_xenpv(runtime, held.disk, options, rows);
}

void print_json(std::ostream& out, const bench_options& options,
                const std::vector<bench_row>& rows) {
  auto document = cli::json_document("xenpv-disk.bench", 1);
  document["disk"] = options.disk;
  document["results"] = cli::json::array();
  for (const auto& row : rows)
    document["results"].push_back(to_json(row));
  cli::print_json(out, document);
}

cli::exit_code run_bench(const bench_options& options, std::ostream& out) {
  if (options.load && options.load->op == blk::operation::write && !options.overwrite)
    throw failure(make_error_code(errc::invalid_argument), "benchmark with a write load",
                  "it destroys the data on the disk; confirm with --overwrite");
  std::vector<bench_row> rows;
  async::runtime_options settings;
  settings.thread_name = "xenpv-disk";
  async::runtime runtime(std::move(settings));
  runtime.run([&](async::runtime& self) { return bench(self, options, rows); });
  if (options.json) {
    print_json(out, options, rows);
    return cli::exit_code::ok;
  }
  print_bench_table(out, rows);
  if (options.histogram)
    for (const auto& row : rows)
      print_bench_histogram(out, row);
  return cli::exit_code::ok;
}

}  // namespace

void add_bench(cli::app& app) {
  static bench_options options;
  using blk::operation;
  auto& command =
      app.add_command("bench", "benchmark a disk with xenpv and with the kernel driver");
  command
      .describe(
          "Runs the same loads on the disk through the kernel block device (io_uring, O_DIRECT), "
          "if the kernel driver is using the disk, and through xenpv, if --take is "
          "given or the disk is free. Both run in one benchmark, so that the figures are "
          "comparable.")
      .describe(
          "Without --load, runs random reads of 4k at depths 1 and 32 and sequential reads of 1M "
          "at depth 4, and with --overwrite the same loads as writes. The depth is the total of "
          "all queues. Data moves directly into and out of granted pages, as for NBD clients; "
          "--copy adds the cost of a program that needs the data in its own memory.")
      .example("measure both engines with reads", "xenpv-disk bench xvdb --take")
      .example("run one load and show its histogram",
               "xenpv-disk bench xvdb --load randread --block 16K --depth 8 --histogram");
  command.argument("DISK", options.disk, disk_help, cli::as_text);
  add_device_options(command, options.device);
  command
      .option("--engine NAME", options.engine, "measure only one engine: xenpv or kernel",
              cli::one_of<bench_engine>(
                  {{"xenpv", bench_engine::xenpv}, {"kernel", bench_engine::kernel}}))
      .option("--load NAME", options.load, "one load: read, randread, write or randwrite",
              cli::one_of<pattern>({{"read", {operation::read, false}},
                                    {"randread", {operation::read, true}},
                                    {"write", {operation::write, false}},
                                    {"randwrite", {operation::write, true}}}))
      .option("--block SIZE", options.block, "bytes per request for that load",
              [](std::string_view text, std::string_view name) -> result<std::uint64_t> {
                auto size = parse_size(text, name);
                if (!size || (*size > 0 && *size <= (64U << 20U))) return size;
                return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                                  "expected at most 64M");
              },
              {.by_default = "4K"})
      .option("--depth N", options.depth, "number of requests in flight for that load",
              cli::whole_number<unsigned>(1, 4096), {.by_default = "32"})
      .option("--time DURATION", options.time, "duration of each load", parse_duration,
              {.by_default = "2s"})
      .flag("--overwrite", options.overwrite, "also write: destroys the data on the disk")
      .flag("--copy", options.copy,
            "copy each block between granted pages and the benchmark's own memory (xenpv "
            "only)")
      .flag("--histogram", options.histogram, "show the latency distribution")
      .offers_json(options.json)
      .action([](std::ostream& out) { return run_bench(options, out); });
}

}  // namespace xenpv::disk_app
