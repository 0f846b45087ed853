// The allowed contents of a disk and the allowed results of reads after any history of requests: an
// independent specification of the block contract, without rings and engines.
//
// The disk has two sectors of two cells each: the bytes changed by an unaligned write, and the
// rest. Requests are numbered. The value of a cell is the number of the request that wrote it; 0:
// the initial contents.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace xenpv::model {

inline constexpr std::size_t cell_count = 4;
/// Cell 2n: the unaligned bytes of sector n. Cell 2n + 1: the rest of it.
using cell_values = std::array<std::uint8_t, cell_count>;
using cell_mask = std::uint8_t;

enum class request_kind : std::uint8_t { read, write, discard, flush };

class oracle {
 public:
  struct record {
    request_kind kind = request_kind::read;
    cell_mask cells = 0;
    bool fua = false;
    std::uint32_t submitted = 0;  ///< time: the number of the event in the history
    std::uint32_t answered = 0;   ///< 0: unanswered
    bool failed = false;
  };

  /// Requests are submitted in the order of their numbers: 1, 2, ...
  void submit(request_kind kind, cell_mask cells, bool fua);
  void answer(std::size_t number, bool failed);
  /// Loses the volatile cache of the backend.
  void cut_power() { cut_ = ++now_; }

  /// Returns why the answered read `number` must not return these values; nullopt if it may.
  [[nodiscard]] std::optional<std::string> check_read(std::size_t number,
                                                      const cell_values& values) const;
  /// Returns why the disk must not contain these values now; nullopt if it may.
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
