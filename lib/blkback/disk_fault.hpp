// The faults that a backend can inject, and their text format. Only parses; the engine (engine.hpp)
// injects them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/parse.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkback {

/// The faults of a disk's rings. Default: none. `..._every` = n affects every n-th request or
/// response, counted for each ring since the faults were set; 0 disables the fault.
struct disk_faults {
  std::uint32_t error_every = 0;  ///< requests answered with ERROR without being executed
  ratio delayed{0, 1};            ///< responses held back for `delay`
  std::chrono::nanoseconds delay{};
  ratio late{0, 1};  ///< writes and discards executed and answered `late_by` later
  std::chrono::nanoseconds late_by{};
  std::optional<std::uint32_t> stall_after;   ///< consumes n more requests, then stops
  bool reorder = false;                       ///< responses of a batch in reverse order
  std::uint32_t answer_twice_every = 0;       ///< responses published twice
  std::uint32_t bad_id_every = 0;             ///< responses with an unused id
  std::uint32_t wrong_operation_every = 0;    ///< responses with a wrong operation
  std::uint32_t producer_jump_every = 0;      ///< responses that push the index past a full ring
  std::optional<std::uint32_t> vanish_after;  ///< the backend vanishes after n more requests
  bool refuse_indirect = false;               ///< EOPNOTSUPP although the feature is offered
  bool refuse_flush = false;                  ///< EOPNOTSUPP for flush and barrier
  bool refuse_discard = false;

  friend bool operator==(const disk_faults&, const disk_faults&) = default;
};

/// Sets the fault that `text` names in `faults`:
///   error=N  delay=TIME[:P/N]  late=TIME[:P/N]  stall[=N]  reorder  answer-twice=N  bad-id=N
///   wrong-operation=N  producer-jump=N  vanish=N  refuse-indirect  refuse-flush  refuse-discard
///   none
/// A ratio P/N means the first P of every N. `none` clears all faults.
[[nodiscard]] result<void> parse_disk_fault(std::string_view text, disk_faults& faults);
/// Parses faults in the format of parse_disk_fault(), separated by spaces. An empty text means no
/// faults.
[[nodiscard]] result<disk_faults> parse_disk_faults(std::string_view text);

}  // namespace xenpv::blkback
