// One connection of a storm: a libnbd handle, the requests in flight, and the expected contents of
// the connection's range. Each connection belongs to one thread; any thread may report problems.
#pragma once

#include <libnbd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "nbd_storm_region.hpp"

namespace nbd_storm {

struct storm_options {
  std::string uri;
  unsigned connections = 8;
  unsigned depth = 64;
  unsigned seconds = 5;
  unsigned quiet = 2;
  unsigned seed = 1;
  unsigned worst_allowed = 0;  ///< seconds; 0: no limit
};

[[noreturn]] inline void give_up(const std::string& reason) {
  std::fprintf(stderr, "nbd_storm: %s\n", reason.c_str());
  std::exit(1);
}

/// Counts the problems that all threads report, and prints the first ten.
class problem_count {
 public:
  void add(const std::string& problem) {
    const std::lock_guard lock(mutex_);
    if (++count_ <= 10) std::fprintf(stderr, "nbd_storm: %s\n", problem.c_str());
  }
  [[nodiscard]] unsigned count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  unsigned count_ = 0;
};

/// A libnbd connection. Use on one thread only.
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

struct client_figures {
  std::uint64_t requests = 0;
  std::uint64_t worst_ns = 0;
  std::uint64_t unanswered = 0;
};

class storm_client {
 public:
  storm_client(const storm_options& options, unsigned number, std::uint64_t begin,
               std::uint64_t length, shared_region& shared, problem_count& problems)
      : number_(number),
        begin_(begin),
        shared_(shared),
        problems_(problems),
        connection_(options.uri),
        known_(length),
        slots_(options.depth),
        random_(options.seed * 1000 + number) {
    for (auto& s : slots_)
      s.bytes.resize(largest);
  }

  /// Fills the range with known bytes. Call before the storm.
  void prepare() {
    for (auto& byte : known_)
      byte = static_cast<std::byte>(random_());
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
      if (over && now_ns() > until + answer_limit_ns) {
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
    std::uint64_t offset = 0;  ///< from the start of the disk
    std::uint64_t length = 0;
    std::uint64_t submitted = 0;
    std::uint32_t number = 0;  ///< number of a write to the shared region
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

  /// Returns, with equal probability, 512 bytes, 1 MiB, or a random length in between.
  [[nodiscard]] std::uint64_t pick_length() {
    const auto kind = pick(3);
    if (kind == 0) return sector;
    if (kind == 1) return largest;
    const auto most = sector << pick(12);
    return sector + pick(most);
  }

  /// Picks a part of this connection's range that does not conflict with a request in flight.
  /// Returns false if it finds none.
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

  unsigned number_;
  std::uint64_t begin_;
  shared_region& shared_;
  problem_count& problems_;
  connection connection_;
  std::vector<std::byte> known_;  ///< expected contents of this connection's range
  std::vector<slot> slots_;
  std::mt19937_64 random_;
  std::uint64_t in_flight_ = 0;
  std::uint32_t next_number_ = 0;
  client_figures figures_;
};

}  // namespace nbd_storm
