// Determines which contents a disk may have, and which data a read may return, after any history of
// requests. An independent specification of the block contract, without rings and engines.
//
// The disk has two sectors of two cells each: the bytes that an unaligned write changes, and the
// other bytes. Requests are numbered. A cell's value is the number of the request that wrote it; 0:
// the initial contents.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace xenpv::model {

inline constexpr std::size_t cell_count = 4;
/// Cell 2n: the bytes of sector n that an unaligned write changes. Cell 2n + 1: its other bytes.
using cell_values = std::array<std::uint8_t, cell_count>;
using cell_mask = std::uint8_t;

enum class request_kind : std::uint8_t { read, write, discard, flush };

class oracle {
 public:
  struct record {
    request_kind kind = request_kind::read;
    cell_mask cells = 0;
    bool fua = false;
    std::uint32_t submitted = 0;  ///< time, as an event number in the history
    std::uint32_t answered = 0;   ///< 0: unanswered
    bool failed = false;
  };

  /// Requests are submitted in the order of their numbers: 1, 2, ...
  void submit(request_kind kind, cell_mask cells, bool fua);
  void answer(std::size_t number, bool failed);
  /// Call when the backend loses its volatile cache.
  void cut_power() { cut_ = ++now_; }

  /// Returns the reason why the answered read `number` must not return `values`; nullopt if it may.
  [[nodiscard]] std::optional<std::string> check_read(std::size_t number,
                                                      const cell_values& values) const;
  /// Returns the reason why the disk must not contain `values` now; nullopt if it may.
  [[nodiscard]] std::optional<std::string> check_disk(const cell_values& values) const;

 private:
  [[nodiscard]] std::optional<std::string> check(const cell_values& values, cell_mask cells,
                                                 std::uint32_t moment) const;
  [[nodiscard]] std::size_t superseded_by(std::size_t writer, std::size_t cell,
                                          std::uint32_t moment) const;
  [[nodiscard]] bool is_promised(const record& write) const;
  [[nodiscard]] bool writes(std::size_t number, std::size_t cell) const;

  std::vector<record> requests_;
  std::uint32_t now_ = 0;
  std::uint32_t cut_ = 0;
};

}  // namespace xenpv::model
