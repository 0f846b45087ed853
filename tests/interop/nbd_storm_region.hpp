// The region that all connections of a storm write to, and the region's allowed contents.
//
// All threads of the storm share it. Does no I/O.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nbd_storm {

inline constexpr std::uint64_t kib = 1024;
inline constexpr std::uint64_t mib = 1024 * kib;
inline constexpr std::uint64_t sector = 512;
inline constexpr std::uint64_t largest = mib;
inline constexpr std::uint64_t shared_size = 32 * mib;
inline constexpr std::uint64_t neighbour_size = mib;
/// A request that has not been answered after this time is lost, not just slow.
inline constexpr std::uint64_t answer_limit_ns = 120'000'000'000;

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                    std::chrono::nanoseconds(1));
}

/// The allowed contents of the shared region. Each word identifies a write and a position. Writes
/// cover whole words, so each word belongs to exactly one write.
class shared_region {
 public:
  shared_region(std::uint64_t begin, unsigned writers)
      : begin_(begin), floors_(shared_size / sector), completed_(writers + 1) {
    for (auto& times : completed_)
      times = std::make_unique<std::array<std::atomic<std::uint64_t>, writes_most>>();
    // The initial contents count as a write that completed before the storm.
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

  /// Call after the reply to a write. `submitted`: value of now_ns() before the submission.
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

  /// Call before submitting a read. For each sector, stores a time in `out`: the read must not
  /// return data of writes that completed before that time, because a later write replaced them.
  void note_floors(std::uint64_t offset, std::uint64_t length,
                   std::vector<std::uint64_t>& out) const {
    out.clear();
    const auto end = (offset - begin_ + length + sector - 1) / sector;
    for (auto i = (offset - begin_) / sector; i < end; ++i)
      out.push_back(floors_[i].load());
  }

  /// Checks two words in each sector or, if `all`, every word. Returns the problem, or an empty
  /// string.
  [[nodiscard]] std::string check(std::span<const std::byte> bytes, std::uint64_t offset,
                                  std::span<const std::uint64_t> floors, bool all) const {
    const auto first = (offset - begin_) / sector;
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      const auto position = offset + at - begin_;
      const auto in_sector = position % sector;
      if (!all && in_sector != 0 && in_sector != sector - 8) continue;
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, sizeof word);
      const auto writer = static_cast<unsigned>(word >> 56);
      const auto number = static_cast<std::uint32_t>(word >> 32) & 0xFFFFFF;
      const auto prefix = "byte " + std::to_string(offset + at) + ": ";
      if (writer >= completed_.size() || number >= writes_most ||
          word != word_of(offset + at, writer, number))
        return prefix + "no write of " + std::to_string(word);
      const auto completed = (*completed_[writer])[number].load();
      if (completed != 0 && completed < floors[position / sector - first])
        return prefix + "write " + std::to_string(number) + " of connection " +
               std::to_string(writer) + " reappeared after a later write had replaced it";
    }
    return {};
  }

  static constexpr std::uint32_t writes_most = 1U << 20;

 private:
  [[nodiscard]] static std::uint64_t word_of(std::uint64_t offset, unsigned writer,
                                             std::uint32_t number) noexcept {
    const auto name = std::uint64_t{writer} << 56 | std::uint64_t{number} << 32;
    const auto mixed = (offset + name) * 0x9E37'79B9'7F4A'7C15;
    return name | mixed >> 32;
  }

  std::uint64_t begin_;
  std::vector<std::atomic<std::uint64_t>> floors_;
  std::vector<std::unique_ptr<std::array<std::atomic<std::uint64_t>, writes_most>>> completed_;
};

}  // namespace nbd_storm
