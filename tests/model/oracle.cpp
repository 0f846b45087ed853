#include "model/oracle.hpp"

#include <fmt/format.h>

namespace xenpv::model {

void oracle::submit(request_kind kind, cell_mask cells, bool fua) {
  requests_.push_back({.kind = kind, .cells = cells, .fua = fua, .submitted = ++now_});
}

void oracle::answer(std::size_t number, bool failed) {
  auto& r = requests_[number - 1];
  r.answered = ++now_;
  r.failed = failed;
}

bool oracle::writes(std::size_t number, std::size_t cell) const {
  const auto& r = requests_[number - 1];
  const bool changes = r.kind == request_kind::write || r.kind == request_kind::discard;
  return changes && (unsigned{r.cells} >> cell & 1U) != 0;
}

/// Returns true if the completed write must survive the loss of the backend's cache.
bool oracle::is_promised(const record& write) const {
  if (cut_ == 0 || write.answered > cut_) return true;
  // A discard is only a hint.
  if (write.kind == request_kind::discard) return false;
  if (write.fua) return true;
  for (const auto& flush : requests_) {
    const bool flushes = flush.kind == request_kind::flush;
    if (!flushes || flush.answered == 0 || flush.failed || flush.submitted < write.answered)
      continue;
    // A flush that failed between the write and this flush has reported that the write may be lost.
    bool loss_reported = false;
    for (const auto& other : requests_) {
      const bool reports = other.kind == request_kind::flush || other.fua;
      loss_reported =
          loss_reported || (reports && other.answered != 0 && other.failed &&
                            other.answered > write.answered && other.answered < flush.submitted);
    }
    if (!loss_reported) return true;
  }
  return false;
}

/// Returns the number of a request that replaced the value of `writer` (0: the initial contents):
/// it was submitted after `writer` was answered, and answered before `moment`. 0: no such request.
std::size_t oracle::superseded_by(std::size_t writer, std::size_t cell,
                                  std::uint32_t moment) const {
  const auto ended = writer == 0 ? 0 : requests_[writer - 1].answered;
  // `writer` is still in flight and may take effect at any time.
  if (writer != 0 && ended == 0) return 0;
  for (std::size_t number = 1; number <= requests_.size(); ++number) {
    const auto& later = requests_[number - 1];
    const bool done = later.answered != 0 && later.answered < moment && !later.failed;
    if (number == writer || !writes(number, cell) || !done) continue;
    if (ended < later.submitted && is_promised(later)) return number;
  }
  return 0;
}

std::optional<std::string> oracle::check(const cell_values& values, cell_mask cells,
                                         std::uint32_t moment) const {
  for (std::size_t cell = 0; cell < cell_count; ++cell) {
    if ((unsigned{cells} >> cell & 1U) == 0) continue;
    const std::size_t writer = values[cell];
    if (writer > requests_.size() || (writer != 0 && !writes(writer, cell)))
      return fmt::format("cell {} holds {}, which no request has written there", cell, writer);
    const auto later = superseded_by(writer, cell, moment);
    // A zero may be the initial value or the result of a discard.
    bool is_fine = later == 0;
    for (std::size_t number = 1; writer == 0 && number <= requests_.size(); ++number)
      is_fine = is_fine || (requests_[number - 1].kind == request_kind::discard &&
                            writes(number, cell) && superseded_by(number, cell, moment) == 0);
    if (is_fine) continue;
    return fmt::format(
        "cell {} holds the value of request {} although request {} was submitted after that and "
        "answered",
        cell, writer, later);
  }
  return std::nullopt;
}

std::optional<std::string> oracle::check_read(std::size_t number, const cell_values& values) const {
  const auto& read = requests_[number - 1];
  return check(values, read.cells, read.submitted);
}

std::optional<std::string> oracle::check_disk(const cell_values& values) const {
  return check(values, (1U << cell_count) - 1, now_ + 1);
}

}  // namespace xenpv::model
