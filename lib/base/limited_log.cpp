#include "base/limited_log.hpp"

#include <fmt/format.h>

#include <utility>

namespace xenpv {

void limited_log::write(std::string_view text, time_point now) {
  if (now < next_) {
    ++withheld_;
    last_ = text;
    return;
  }
  next_ = now + interval_;
  const auto more = std::exchange(withheld_, 0);
  if (more == 0) return write_(text);
  write_(fmt::format("{} ({} more {} since the last message)", text, more, kind_));
}

void limited_log::flush(time_point now, bool is_final) {
  if (withheld_ == 0 || (now < next_ && !is_final)) return;
  next_ = now + interval_;
  write_(fmt::format("{} more {}, the last: {}", std::exchange(withheld_, 0), kind_, last_));
}

}  // namespace xenpv
