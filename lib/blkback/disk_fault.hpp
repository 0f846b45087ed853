// What a backend can be told to do wrong, as words. Parsing only; engine.hpp does it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "xenpv/base/error.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::blkback {

/// Everything that can be made to go wrong with a disk's rings. Default: nothing does. "Every n-th"
/// counts from the moment the switches are set, for each ring by itself; 0: never.
struct disk_faults {
  std::uint32_t error_every = 0;  ///< of the requests: not carried out, answered with ERROR
  ratio delayed{0, 1};            ///< responses that are held back for `delay`
  std::chrono::nanoseconds delay{};
  ratio late{0, 1};  ///< writes and discards that are carried out, and answered, `late_by` later
  std::chrono::nanoseconds late_by{};
  std::optional<std::uint32_t> stall_after;   ///< after n more requests none is taken
  bool reorder = false;                       ///< responses of a batch in reverse order
  std::uint32_t answer_twice_every = 0;       ///< of the responses
  std::uint32_t bad_id_every = 0;             ///< of the responses: an id that nobody used
  std::uint32_t wrong_operation_every = 0;    ///< of the responses
  std::uint32_t producer_jump_every = 0;      ///< of the responses: the index runs a ring too far
  std::optional<std::uint32_t> vanish_after;  ///< after n more requests the backend is dead
  bool refuse_indirect = false;               ///< EOPNOTSUPP, though it was offered
  bool refuse_flush = false;                  ///< EOPNOTSUPP for flush and barrier
  bool refuse_discard = false;

  friend bool operator==(const disk_faults&, const disk_faults&) = default;
};

/// Sets what `text` names in `faults`:
///   error=N  delay=TIME[:P/N]  late=TIME[:P/N]  stall[=N]  reorder  answer-twice=N  bad-id=N
///   wrong-operation=N  producer-jump=N  vanish=N  refuse-indirect  refuse-flush  refuse-discard
///   none
/// A ratio P/N means the first P of every N. `none` switches everything off.
[[nodiscard]] result<void> parse_disk_fault(std::string_view text, disk_faults& faults);
/// Words with blanks between them, from nothing wrong on; none at all is nothing wrong.
[[nodiscard]] result<disk_faults> parse_disk_faults(std::string_view words);

}  // namespace xenpv::blkback
