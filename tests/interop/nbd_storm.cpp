// A storm of NBD requests that verifies its data, and a quiet neighbour beside it:
//
//   nbd_storm URI [--connections N] [--depth N] [--seconds N] [--quiet N] [--seed N]
//             [--worst-allowed SECONDS]
//
// Each connection has a thread and `depth` requests in flight: 512 bytes to 1 MiB at arbitrary byte
// offsets, half of them writes. A connection knows every byte of its own stretch, whose ends share
// sectors with its neighbours'; in the shared region writers overlap, and each word read has to be
// of a write that no completed one had replaced before the read began. The neighbour reads 4 KiB at
// depth 1, alone for `quiet` seconds and then beside the storm.
//
// Prints figures as "name value" lines to stdout and problems to stderr. Exit status: 0; 1 for an
// error, wrong data, a request without an answer or a latency above --worst-allowed; 2 usage.
#include <libnbd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;
constexpr std::uint64_t sector = 512;
constexpr std::uint64_t largest = mib;
constexpr std::uint64_t shared_size = 32 * mib;
constexpr std::uint64_t neighbour_size = mib;
/// Without an answer for this long, a server is not slow any more.
constexpr std::uint64_t patience_ns = 120'000'000'000;

struct storm_options {
  std::string uri;
  unsigned connections = 8;
  unsigned depth = 64;
  unsigned seconds = 5;
  unsigned quiet = 2;
  unsigned seed = 1;
  unsigned worst_allowed = 0;  ///< seconds; 0: any
};

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                    std::chrono::nanoseconds(1));
}

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "nbd_storm: %s\n", what.c_str());
  std::exit(1);
}

/// Problems of all threads; the first few are printed.
class problem_count {
 public:
  void add(const std::string& what) {
    const std::lock_guard lock(mutex_);
    if (++count_ <= 10) std::fprintf(stderr, "nbd_storm: %s\n", what.c_str());
  }
  [[nodiscard]] unsigned count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  unsigned count_ = 0;
};

/// A connection; commands are its thread's.
class connection {
 public:
  explicit connection(const std::string& uri) : handle_(nbd_create()) {
    if (handle_ == nullptr || nbd_connect_uri(handle_, uri.c_str()) != 0)
      give_up(std::string("cannot connect: ") + nbd_get_error());
  }
  ~connection() {
    nbd_shutdown(handle_, 0);
    nbd_close(handle_);
  }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  [[nodiscard]] nbd_handle* get() const noexcept { return handle_; }
  [[nodiscard]] std::uint64_t size() const {
    return static_cast<std::uint64_t>(nbd_get_size(handle_));
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const {
    for (; !bytes.empty(); offset += largest) {
      const auto piece = bytes.first(std::min<std::size_t>(bytes.size(), largest));
      if (nbd_pwrite(handle_, piece.data(), piece.size(), offset, 0) != 0)
        give_up(std::string("cannot write: ") + nbd_get_error());
      bytes = bytes.subspan(piece.size());
    }
  }
  void read(std::uint64_t offset, std::span<std::byte> bytes) const {
    for (; !bytes.empty(); offset += largest) {
      const auto piece = bytes.first(std::min<std::size_t>(bytes.size(), largest));
      if (nbd_pread(handle_, piece.data(), piece.size(), offset, 0) != 0)
        give_up(std::string("cannot read: ") + nbd_get_error());
      bytes = bytes.subspan(piece.size());
    }
  }

 private:
  nbd_handle* handle_;
};

/// What the region that all connections write to may hold. A word names its write and its place;
/// writes cover whole words, so that every word is of exactly one write.
class shared_region {
 public:
  shared_region(std::uint64_t begin, unsigned writers)
      : begin_(begin), floors_(shared_size / sector), completed_(writers + 1) {
    for (auto& each : completed_)
      each = std::make_unique<std::array<std::atomic<std::uint64_t>, writes_most>>();
    // What is there at first: written by nobody's connection, and completed at once.
    (*completed_[writers])[0] = 1;
  }

  [[nodiscard]] std::uint64_t begin() const noexcept { return begin_; }

  void fill(std::span<std::byte> bytes, std::uint64_t offset, unsigned writer,
            std::uint32_t number) const {
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      const auto word = word_of(offset + at, writer, number);
      std::memcpy(bytes.data() + at, &word, sizeof word);
    }
  }

  /// Moments are now_ns() of before the submission and of after the answer.
  void complete(unsigned writer, std::uint32_t number, std::uint64_t offset, std::uint64_t length,
                std::uint64_t submitted) {
    (*completed_[writer])[number] = now_ns();
    const auto first = (offset - begin_ + sector - 1) / sector;
    const auto end = (offset - begin_ + length) / sector;
    for (auto i = first; i < end; ++i) {
      auto known = floors_[i].load();
      while (known < submitted && !floors_[i].compare_exchange_weak(known, submitted)) {
      }
    }
  }

  /// For a read that is about to be submitted: writes completed before these moments are replaced.
  void note_floors(std::uint64_t offset, std::uint64_t length,
                   std::vector<std::uint64_t>& out) const {
    out.clear();
    const auto end = (offset - begin_ + length + sector - 1) / sector;
    for (auto i = (offset - begin_) / sector; i < end; ++i)
      out.push_back(floors_[i].load());
  }

  /// Two words of each sector, or all of them. Empty: nothing is wrong.
  [[nodiscard]] std::string check(std::span<const std::byte> bytes, std::uint64_t offset,
                                  std::span<const std::uint64_t> floors, bool all) const {
    const auto first = (offset - begin_) / sector;
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      const auto place = offset + at - begin_;
      const auto in_sector = place % sector;
      if (!all && in_sector != 0 && in_sector != sector - 8) continue;
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, sizeof word);
      const auto writer = static_cast<unsigned>(word >> 56);
      const auto number = static_cast<std::uint32_t>(word >> 32) & 0xFFFFFF;
      const auto where = "byte " + std::to_string(offset + at) + ": ";
      if (writer >= completed_.size() || number >= writes_most ||
          word != word_of(offset + at, writer, number))
        return where + "nobody wrote " + std::to_string(word) + " there";
      const auto completed = (*completed_[writer])[number].load();
      if (completed != 0 && completed < floors[place / sector - first])
        return where + "write " + std::to_string(number) + " of connection " +
               std::to_string(writer) + " is back, although a later one had replaced it";
    }
    return {};
  }

  static constexpr std::uint32_t writes_most = 1U << 20;

 private:
  [[nodiscard]] static std::uint64_t word_of(std::uint64_t place, unsigned writer,
                                             std::uint32_t number) noexcept {
    const auto name = std::uint64_t{writer} << 56 | std::uint64_t{number} << 32;
    const auto mixed = (place + name) * 0x9E37'79B9'7F4A'7C15;
    return name | mixed >> 32;
  }

  std::uint64_t begin_;
  std::vector<std::atomic<std::uint64_t>> floors_;
  std::vector<std::unique_ptr<std::array<std::atomic<std::uint64_t>, writes_most>>> completed_;
};

struct client_figures {
  std::uint64_t requests = 0;
  std::uint64_t worst_ns = 0;
  std::uint64_t unanswered = 0;
};

/// One connection of the storm.
class storm_client {
 public:
  storm_client(const storm_options& options, unsigned number, std::uint64_t begin,
               std::uint64_t length, shared_region& shared, problem_count& problems)
      : options_(options),
        number_(number),
        begin_(begin),
        shared_(shared),
        problems_(problems),
        connection_(options.uri),
        known_(length),
        slots_(options.depth),
        random_(options.seed * 1000 + number) {
    for (auto& each : slots_)
      each.bytes.resize(largest);
  }

  /// Before the storm: the contents are known.
  void prepare() {
    for (auto& each : known_)
      each = static_cast<std::byte>(random_());
    connection_.write(begin_, known_);
  }

  void run(std::uint64_t until) {
    for (;;) {
      retire();
      const bool over = now_ns() >= until;
      if (over && in_flight_ == 0) return;
      if (!over) submit_more();
      if (nbd_poll(connection_.get(), 1000) < 0) {
        problems_.add(std::string("lost the connection: ") + nbd_get_error());
        figures_.unanswered += in_flight_;
        return;
      }
      if (over && now_ns() > until + patience_ns) {
        problems_.add(std::to_string(in_flight_) + " requests were never answered");
        figures_.unanswered += in_flight_;
        return;
      }
    }
  }

  void verify() {
    std::vector<std::byte> bytes(known_.size());
    connection_.read(begin_, bytes);
    check_own(bytes, 0, "at the end");
  }

  [[nodiscard]] const client_figures& figures() const noexcept { return figures_; }

 private:
  enum class slot_state : std::uint8_t { free, in_flight, answered };
  struct slot {
    slot_state state = slot_state::free;
    int error = 0;
    bool is_write = false;
    bool is_shared = false;
    std::uint64_t offset = 0;  ///< of the disk
    std::uint64_t length = 0;
    std::uint64_t submitted = 0;
    std::uint32_t number = 0;  ///< of a shared write
    std::vector<std::uint64_t> floors;
    std::vector<std::byte> bytes;
  };

  static int answered(void* user, int* error) {
    auto& s = *static_cast<slot*>(user);
    s.error = *error;
    s.state = slot_state::answered;
    return 1;
  }

  [[nodiscard]] std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  /// 512 bytes, 1 MiB, and anything between, in equal parts.
  [[nodiscard]] std::uint64_t pick_length() {
    const auto kind = pick(3);
    if (kind == 0) return sector;
    if (kind == 1) return largest;
    const auto most = sector << pick(12);
    return sector + pick(most);
  }

  /// A stretch of our own that no request in flight forbids; 0 bytes: none was found.
  [[nodiscard]] bool place_own(slot& s) {
    for (int tries = 0; tries < 20; ++tries) {
      s.length = std::min(pick_length(), largest);
      s.offset = begin_ + pick(known_.size() - s.length + 1);
      const bool is_free = std::none_of(slots_.begin(), slots_.end(), [&](const slot& other) {
        return &other != &s && other.state != slot_state::free && !other.is_shared &&
               (other.is_write || s.is_write) && other.offset < s.offset + s.length &&
               s.offset < other.offset + other.length;
      });
      if (is_free) return true;
    }
    return false;
  }

  void place_shared(slot& s) {
    s.length = std::min(pick_length(), largest) / 8 * 8;
    s.offset = shared_.begin() + pick((shared_size - s.length) / 8 + 1) * 8;
  }

  [[nodiscard]] bool prepare_slot(slot& s) {
    s.is_write = pick(2) == 0;
    s.is_shared = pick(2) == 0;
    const auto bytes = [&] { return std::span(s.bytes).first(s.length); };
    if (s.is_shared) {
      place_shared(s);
      if (s.is_write && next_number_ < shared_region::writes_most) {
        s.number = next_number_++;
        shared_.fill(bytes(), s.offset, number_, s.number);
      } else {
        s.is_write = false;
        shared_.note_floors(s.offset, s.length, s.floors);
      }
      return true;
    }
    if (!place_own(s)) return false;
    if (!s.is_write) return true;
    const auto seed = random_();
    const auto target = std::span(known_).subspan(s.offset - begin_, s.length);
    for (std::size_t at = 0; at < target.size(); ++at)
      target[at] = static_cast<std::byte>((seed + at * 0x0101) >> 4);
    std::copy(target.begin(), target.end(), s.bytes.begin());
    return true;
  }

  void submit_more() {
    for (auto& s : slots_) {
      if (s.state != slot_state::free || !prepare_slot(s)) continue;
      s.state = slot_state::in_flight;
      ++in_flight_;
      s.submitted = now_ns();
      const nbd_completion_callback done{answered, &s, nullptr};
      const auto cookie =
          s.is_write
              ? nbd_aio_pwrite(connection_.get(), s.bytes.data(), s.length, s.offset, done, 0)
              : nbd_aio_pread(connection_.get(), s.bytes.data(), s.length, s.offset, done, 0);
      if (cookie >= 0) continue;
      problems_.add(std::string("cannot submit: ") + nbd_get_error());
      s.state = slot_state::free;
      --in_flight_;
    }
  }

  void retire() {
    for (auto& s : slots_) {
      if (s.state != slot_state::answered) continue;
      const auto took = now_ns() - s.submitted;
      figures_.worst_ns = std::max(figures_.worst_ns, took);
      ++figures_.requests;
      if (s.error != 0)
        problems_.add(std::string(s.is_write ? "write" : "read") + " of " +
                      std::to_string(s.length) + " bytes at " + std::to_string(s.offset) +
                      " after " + std::to_string(took / 1'000'000) +
                      " ms: " + std::strerror(s.error));
      else
        check(s);
      s.state = slot_state::free;
      --in_flight_;
    }
  }

  void check(const slot& s) {
    const auto bytes = std::span(s.bytes).first(s.length);
    if (s.is_write) {
      if (s.is_shared) shared_.complete(number_, s.number, s.offset, s.length, s.submitted);
      return;
    }
    if (!s.is_shared) return check_own(bytes, s.offset - begin_, "read");
    const auto wrong = shared_.check(bytes, s.offset, s.floors, false);
    if (!wrong.empty()) problems_.add("shared region, " + wrong);
  }

  void check_own(std::span<const std::byte> bytes, std::uint64_t at, const char* when) {
    const auto expected = std::span(known_).subspan(at, bytes.size());
    if (std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0) return;
    const auto differs = std::mismatch(bytes.begin(), bytes.end(), expected.begin()).first;
    problems_.add(
        "connection " + std::to_string(number_) + ", byte " +
        std::to_string(begin_ + at + static_cast<std::uint64_t>(differs - bytes.begin())) +
        " is wrong (" + when + ")");
  }

  const storm_options& options_;
  unsigned number_;
  std::uint64_t begin_;
  shared_region& shared_;
  problem_count& problems_;
  connection connection_;
  std::vector<std::byte> known_;  ///< of our own stretch
  std::vector<slot> slots_;
  std::mt19937_64 random_;
  std::uint64_t in_flight_ = 0;
  std::uint32_t next_number_ = 0;
  client_figures figures_;
};

/// Ahead of the storm's threads, where we may: what is measured is the server's fairness and not
/// that of our own CPU.
void go_first() {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), -15);
}

/// Depth 1, until `over`.
client_figures run_neighbour(const connection& server, std::uint64_t begin,
                             const std::atomic<bool>& over, problem_count& problems) {
  client_figures out;
  go_first();
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
  if (server.size() < shared_size + neighbour_size + options.connections * 8 * mib)
    give_up("the disk is too small: 33 MiB, and 8 MiB for each connection");
  shared_region shared(0, options.connections);
  prepare_shared(server, shared, options.connections);
  // Odd: the owners of two stretches side by side share a sector.
  const auto stretch = (server.size() - shared_size - neighbour_size) / options.connections - 1;
  std::vector<std::unique_ptr<storm_client>> clients;
  for (unsigned i = 0; i < options.connections; ++i) {
    clients.push_back(std::make_unique<storm_client>(options, i, shared_size + i * stretch, stretch,
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
  for (auto& each : clients)
    threads.emplace_back([&] { each->run(start + options.seconds * 1'000'000'000ULL); });
  std::this_thread::sleep_for(std::chrono::seconds(options.seconds));
  over = true;
  for (auto& each : threads)
    each.join();
  const auto took = now_ns() - start;
  neighbour.join();
  client_figures all;
  for (const auto& each : clients) {
    all.requests += each->figures().requests;
    all.worst_ns = std::max(all.worst_ns, each->figures().worst_ns);
    all.unanswered += each->figures().unanswered;
  }
  if (all.unanswered == 0) {
    for (auto& each : clients)
      each->verify();
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
    const std::string_view word = argv[i];
    const auto* const known =
        std::find_if(known_options.begin(), known_options.end(),
                     [&](const named_option& each) { return each.name == word; });
    if (known != known_options.end() && i + 1 < argc)
      out.*known->value = static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10));
    else if (out.uri.empty() && !word.starts_with("-"))
      out.uri = word;
    else
      return false;
  }
  return !out.uri.empty() && out.connections > 0 && out.connections < 255 && out.depth > 0;
}

}  // namespace

int main(int argc, char** argv) {
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
