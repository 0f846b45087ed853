#include "bench.hpp"

#include <fmt/format.h>

#include <ostream>

#include "claim.hpp"
#include "commands.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blk/uring_device.hpp"
#include "xenpv/blkfront/frontend.hpp"
#include "xenpv/cli/progress.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::disk_app {
namespace {

namespace asio = async::asio;
using blkfront::device_holder;

struct pattern {
  blk::operation op;
  bool random;
};

struct bench_words {
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

std::vector<named_load> loads_for(const bench_words& words) {
  std::vector<named_load> out;
  const auto add = [&](pattern what, std::uint32_t block, unsigned depth) {
    if (what.op == blk::operation::write && !words.overwrite) return;
    blk::workload load;
    load.op = what.op;
    load.random = what.random;
    load.block = block;
    load.depth = depth;
    load.time = words.time;
    load.in_place = !words.copy;
    out.push_back(name_load(load));
  };
  if (words.load) {
    add(*words.load, static_cast<std::uint32_t>(words.block), words.depth);
  } else {
    for (const auto op : {blk::operation::read, blk::operation::write}) {
      add({op, true}, 4096, 1);
      add({op, true}, 4096, 32);
      add({op, false}, large_block, 4);
    }
  }
  return out;
}

/// Runs every load on one device; one that fails altogether ends the bench.
asio::awaitable<void> run_loads(blk::block_device& device, bench_engine engine,
                                const std::vector<named_load>& loads,
                                std::vector<bench_row>& rows) {
  cli::progress_line progress;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    progress.show(
        fmt::format("{}: {} ({} of {})", to_string(engine), loads[i].name, i + 1, loads.size()));
    const auto result = co_await blk::run(device, loads[i].how);
    if (result.errors == result.requests && result.errors > 0)
      throw failure(result.first_error, fmt::format("{}: {}", to_string(engine), loads[i].name));
    rows.push_back({loads[i], engine, result});
  }
}

/// The same, and closes the device, which either kind does in its own way.
template <class Device>
asio::awaitable<void> measure(Device& device, bench_engine engine, const bench_words& words,
                              std::vector<bench_row>& rows) {
  std::exception_ptr error;
  try {
    co_await run_loads(device, engine, loads_for(words), rows);
  } catch (...) {
    error = std::current_exception();
  }
  co_await device.close();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> measure_kernel(async::runtime& on, const blkfront::listed_device& disk,
                                     const bench_words& words, std::vector<bench_row>& rows) {
  const auto path = system_root::from_environment()
                        .path("/dev/" + disk.block_device.value_or(disk.name))
                        .string();
  std::vector<asio::any_io_executor> executors;
  for (std::size_t i = 0; i < std::min<std::size_t>(on.cpus(), words.device.queues.value_or(64));
       ++i)
    executors.push_back(on.executor(i));
  blk::uring_device::options how;
  how.read_only = !words.overwrite;
  const auto device = blk::uring_device::open(path, executors, how);
  co_await measure(*device, bench_engine::kernel, words, rows);
}

asio::awaitable<void> measure_xenpv(async::runtime& on, const blkfront::listed_device& disk,
                                    const bench_words& words, std::vector<bench_row>& rows) {
  std::string any_identity;
  const auto connected = co_await connect_disk(on, disk, words.device, std::move(any_identity));
  co_await measure(*connected.device, bench_engine::xenpv, words, rows);
}

/// The kernel's engine first: once its driver has released a disk, only the toolstack brings it
/// back for sure.
asio::awaitable<void> bench(async::runtime& on, bench_words words, std::vector<bench_row>& rows) {
  const auto held = co_await lock_disk(on, words.disk);
  const bool in_kernel = held.disk.holder == device_holder::kernel;
  if (words.engine == bench_engine::kernel && !in_kernel)
    throw failure(make_error_code(errc::not_available),
                  fmt::format("measure the kernel's engine on {}", held.disk.name),
                  "the kernel's driver does not hold it; attach it anew, or use --engine xenpv");
  const bool only_kernel = !words.engine && in_kernel && !words.device.take;
  if (words.engine != bench_engine::kernel && !only_kernel) check_claim(held.disk, words.device);
  if (in_kernel && words.engine != bench_engine::xenpv)
    co_await measure_kernel(on, held.disk, words, rows);
  if (words.engine == bench_engine::kernel) co_return;
  if (only_kernel) {
    log().info("{}: the kernel's driver holds it; with --take ours is measured, too",
               held.disk.name);
    co_return;
  }
  co_await measure_xenpv(on, held.disk, words, rows);
}

void print_json(std::ostream& out, const bench_words& words, const std::vector<bench_row>& rows) {
  auto document = cli::json_document("xenpv-disk.bench", 1);
  document["disk"] = words.disk;
  document["results"] = cli::json::array();
  for (const auto& row : rows)
    document["results"].push_back(to_json(row));
  cli::print_json(out, document);
}

cli::exit_code run_bench(const bench_words& words, std::ostream& out) {
  if (words.load && words.load->op == blk::operation::write && !words.overwrite)
    throw failure(make_error_code(errc::invalid_argument), "bench with a load that writes",
                  "it destroys what is on the disk; --overwrite says that you mean it");
  std::vector<bench_row> rows;
  async::runtime_options how;
  how.thread_name = "xenpv-disk";
  async::runtime on(std::move(how));
  on.run([&](async::runtime& self) { return bench(self, words, rows); });
  if (words.json) {
    print_json(out, words, rows);
    return cli::exit_code::ok;
  }
  print_bench_table(out, rows);
  if (words.histogram)
    for (const auto& row : rows)
      print_bench_histogram(out, row);
  return cli::exit_code::ok;
}

}  // namespace

void add_bench(cli::app& app) {
  static bench_words words;
  using blk::operation;
  auto& command = app.add_command("bench", "measure a disk through this engine and the kernel's");
  command
      .describe(
          "Puts the same loads on the disk through the kernel's block device (io_uring, O_DIRECT), "
          "if the kernel's driver holds it, and through the engine of this program, with --take or "
          "if nobody holds it. Both in one run, so that the figures can be compared.")
      .describe(
          "Without --load: random reads of 4k at depth 1 and 32, reads in order of 1M at depth 4, "
          "and with --overwrite the same as writes. Depth is that of all queues together. Bytes go "
          "straight into and out of granted pages, as those of NBD clients do; --copy adds what a "
          "program pays that wants them in memory of its own.")
      .example("both engines, reading", "xenpv-disk bench xvdb --take")
      .example("one load, with its histogram",
               "xenpv-disk bench xvdb --load randread --block 16K --depth 8 --histogram");
  add_device_options(command, words.disk, words.device);
  command
      .option("--engine NAME", words.engine, "measure only xenpv or only kernel",
              cli::one_of<bench_engine>(
                  {{"xenpv", bench_engine::xenpv}, {"kernel", bench_engine::kernel}}))
      .option("--load NAME", words.load, "one load: read, randread, write or randwrite",
              cli::one_of<pattern>({{"read", {operation::read, false}},
                                    {"randread", {operation::read, true}},
                                    {"write", {operation::write, false}},
                                    {"randwrite", {operation::write, true}}}))
      .option("--block SIZE", words.block, "bytes of each request of that load",
              [](std::string_view text, std::string_view what) -> result<std::uint64_t> {
                auto size = parse_size(text, what);
                if (!size || (*size > 0 && *size <= (64U << 20U))) return size;
                return make_error(errc::invalid_argument, fmt::format("{} '{}'", what, text),
                                  "expected at most 64M");
              },
              {.by_default = "4K"})
      .option("--depth N", words.depth, "requests in flight of that load",
              cli::whole_number<unsigned>(1, 4096), {.by_default = "32"})
      .option("--time DURATION", words.time, "for each load", parse_duration, {.by_default = "2s"})
      .flag("--overwrite", words.overwrite, "also write: destroys what is on the disk")
      .flag("--copy", words.copy,
            "copy each block between granted pages and memory of the bench; the kernel never does")
      .flag("--histogram", words.histogram, "show how the answers' times are spread")
      .offers_json(words.json)
      .action([](std::ostream& out) { return run_bench(words, out); });
}

}  // namespace xenpv::disk_app
