// A storm of NBD requests with data verification, and a concurrent low-rate client (the neighbour):
//
//   nbd_storm URI [--connections N] [--depth N] [--seconds N] [--quiet N] [--seed N]
//             [--worst-allowed SECONDS]
//
// Each connection has its own thread and `depth` requests in flight: 512 bytes to 1 MiB at
// arbitrary byte offsets, half of them writes. A connection tracks every byte of its own range.
// Adjacent ranges share the sector at their boundary. In the shared region, writes overlap: each
// word that a read returns must belong to a write that no completed write had replaced before the
// read began. The neighbour reads 4 KiB at depth 1, alone for `quiet` seconds and then during the
// storm.
//
// Prints results as "name value" lines to stdout and problems to stderr. Exit status: 0 on success;
// 1 for an error, wrong data, an unanswered request or a latency above --worst-allowed; 2 for an
// invalid command line.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "nbd_storm_client.hpp"
#include "nbd_storm_region.hpp"

namespace nbd_storm {
namespace {

/// Gives this thread a higher priority than the storm threads, if permitted, so that its latency
/// shows whether the server is fair, regardless of CPU scheduling in this process.
void raise_priority() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), -15);
}

/// Reads at depth 1 until `over` is set.
client_figures run_neighbour(const connection& server, std::uint64_t begin,
                             const std::atomic<bool>& over, problem_count& problems) {
  client_figures out;
  raise_priority();
  std::mt19937_64 random(7);
  std::array<std::byte, 4 * kib> bytes{};
  while (!over) {
    const auto start = now_ns();
    const auto offset = begin + random() % (neighbour_size / bytes.size()) * bytes.size();
    if (nbd_pread(server.get(), bytes.data(), bytes.size(), offset, 0) != 0) {
      problems.add(std::string("neighbour: ") + nbd_get_error());
      return out;
    }
    out.worst_ns = std::max(out.worst_ns, now_ns() - start);
    ++out.requests;
  }
  return out;
}

void print(const char* name, double value) {
  std::printf("%s %.1f\n", name, value);
}

double milliseconds(std::uint64_t ns) {
  return static_cast<double>(ns) / 1e6;
}

void prepare_shared(const connection& server, const shared_region& shared, unsigned writers) {
  std::vector<std::byte> bytes(shared_size);
  shared.fill(bytes, shared.begin(), writers, 0);
  server.write(shared.begin(), bytes);
}

void verify_shared(const connection& server, const shared_region& shared, problem_count& problems) {
  std::vector<std::byte> bytes(shared_size);
  std::vector<std::uint64_t> floors;
  shared.note_floors(shared.begin(), shared_size, floors);
  server.read(shared.begin(), bytes);
  const auto wrong = shared.check(bytes, shared.begin(), floors, true);
  if (!wrong.empty()) problems.add("shared region at the end, " + wrong);
}

int run(const storm_options& options) {
  problem_count problems;
  const connection server(options.uri);
  if (server.size() < shared_size + neighbour_size + 8 * mib * options.connections)
    give_up("the disk is too small: 33 MiB plus 8 MiB per connection are required");
  shared_region shared(0, options.connections);
  prepare_shared(server, shared, options.connections);
  // Subtract one byte, so that adjacent ranges share a sector.
  const auto range = (server.size() - shared_size - neighbour_size) / options.connections - 1;
  std::vector<std::unique_ptr<storm_client>> clients;
  for (unsigned i = 0; i < options.connections; ++i) {
    clients.push_back(std::make_unique<storm_client>(options, i, shared_size + i * range, range,
                                                     shared, problems));
    clients.back()->prepare();
  }
  const auto neighbours = server.size() - neighbour_size;
  std::atomic<bool> over = false;
  client_figures quiet;
  {
    std::thread thread([&] { quiet = run_neighbour(server, neighbours, over, problems); });
    std::this_thread::sleep_for(std::chrono::seconds(options.quiet));
    over = true;
    thread.join();
  }
  over = false;
  client_figures beside;
  std::uint64_t beside_ns = 0;
  const auto start = now_ns();
  std::thread neighbour([&] {
    beside = run_neighbour(server, neighbours, over, problems);
    beside_ns = now_ns() - start;
  });
  std::vector<std::thread> threads;
  threads.reserve(clients.size());
  for (auto& client : clients)
    threads.emplace_back([&] { client->run(start + options.seconds * 1'000'000'000ULL); });
  std::this_thread::sleep_for(std::chrono::seconds(options.seconds));
  over = true;
  for (auto& thread : threads)
    thread.join();
  const auto took = now_ns() - start;
  neighbour.join();
  client_figures all;
  for (const auto& client : clients) {
    all.requests += client->figures().requests;
    all.worst_ns = std::max(all.worst_ns, client->figures().worst_ns);
    all.unanswered += client->figures().unanswered;
  }
  if (all.unanswered == 0) {
    for (auto& client : clients)
      client->verify();
    verify_shared(server, shared, problems);
  }
  const auto per_second = [](std::uint64_t requests, std::uint64_t ns) {
    return static_cast<double>(requests) * 1e9 / static_cast<double>(ns);
  };
  print("requests", static_cast<double>(all.requests));
  print("rate", per_second(all.requests, took));
  print("worst-ms", milliseconds(all.worst_ns));
  print("neighbour-quiet-rate", per_second(quiet.requests, options.quiet * 1'000'000'000ULL));
  print("neighbour-storm-rate", per_second(beside.requests, beside_ns));
  print("neighbour-worst-ms", milliseconds(beside.worst_ns));
  print("unanswered", static_cast<double>(all.unanswered));
  const auto bound = options.worst_allowed * 1'000'000'000ULL;
  if (bound != 0 && std::max(all.worst_ns, beside.worst_ns) > bound)
    problems.add("a request took longer than " + std::to_string(options.worst_allowed) + " s");
  print("problems", problems.count());
  return problems.count() == 0 ? 0 : 1;
}

struct named_option {
  std::string_view name;
  unsigned storm_options::*value;
};
constexpr std::array known_options = {
    named_option{"--connections", &storm_options::connections},
    named_option{"--depth", &storm_options::depth},
    named_option{"--seconds", &storm_options::seconds},
    named_option{"--quiet", &storm_options::quiet},
    named_option{"--seed", &storm_options::seed},
    named_option{"--worst-allowed", &storm_options::worst_allowed}};

bool parse(int argc, char** argv, storm_options& out) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto* const known =
        std::find_if(known_options.begin(), known_options.end(),
                     [&](const named_option& option) { return option.name == argument; });
    if (known != known_options.end() && i + 1 < argc)
      out.*known->value = static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10));
    else if (out.uri.empty() && !argument.starts_with("-"))
      out.uri = argument;
    else
      return false;
  }
  return !out.uri.empty() && out.connections > 0 && out.connections < 255 && out.depth > 0;
}

}  // namespace
}  // namespace nbd_storm

int main(int argc, char** argv) {
  using namespace nbd_storm;
  storm_options options;
  if (!parse(argc, argv, options)) {
    std::fputs(
        "usage: nbd_storm URI [--connections N] [--depth N] [--seconds N] [--quiet N] [--seed N]\n"
        "                 [--worst-allowed SECONDS]\n",
        stderr);
    return 2;
  }
  return run(options);
}
