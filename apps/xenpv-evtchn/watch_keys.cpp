#include "watch_keys.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <utility>

namespace xenpv::evtchn_app {
namespace {

constexpr char escape = '\x1b';

std::optional<watch_order> order_of(std::string_view key) {
  constexpr std::array<std::pair<std::string_view, watch_order>, 5> orders = {
      {{"r", watch_order::rate},
       {"i", watch_order::irq},
       {"n", watch_order::name},
       {"k", watch_order::kind},
       {"c", watch_order::cpu}}};
  for (const auto& [name, order] : orders)
    if (name == key) return order;
  return std::nullopt;
}

enum class movement { none, line_up, line_down, page_up, page_down, start, end };

/// The sequences of xterm, and of the Linux console and rxvt for Home and End.
movement movement_of(std::string_view key) {
  constexpr std::array<std::pair<std::string_view, movement>, 18> keys = {
      {{"[A", movement::line_up},
       {"OA", movement::line_up},
       {"[B", movement::line_down},
       {"OB", movement::line_down},
       {"[5~", movement::page_up},
       {"b", movement::page_up},
       {"[6~", movement::page_down},
       {" ", movement::page_down},
       {"[H", movement::start},
       {"OH", movement::start},
       {"[1~", movement::start},
       {"[7~", movement::start},
       {"g", movement::start},
       {"[F", movement::end},
       {"OF", movement::end},
       {"[4~", movement::end},
       {"[8~", movement::end},
       {"G", movement::end}}};
  for (const auto& [name, moves] : keys)
    if (name == key) return moves;
  return movement::none;
}

/// Returns the new number of channels above the window. draw_watch() limits it.
std::size_t scrolled(const watch_frame& frame, movement moves) {
  const auto page = std::max<std::size_t>(frame.shown, 1);
  switch (moves) {
    case movement::line_up:
      return frame.first - std::min<std::size_t>(frame.first, 1);
    case movement::line_down:
      return frame.first + 1;
    case movement::page_up:
      return frame.first - std::min(frame.first, page);
    case movement::page_down:
      return frame.first + page;
    case movement::start:
      return 0;
    case movement::end:
      return std::numeric_limits<std::size_t>::max();
    case movement::none:
      break;
  }
  return frame.first;
}

}  // namespace

std::optional<std::string> watch_keys::complete(char byte) {
  constexpr std::size_t longest = 8;
  if (byte == escape) {
    in_sequence_ = true;
    sequence_.clear();
    return std::nullopt;
  }
  if (!in_sequence_) return std::string(1, byte);
  sequence_ += byte;
  // ECMA-48: CSI is "[", its parameters are 0x30 to 0x3F, and the final byte is 0x40 or above. SS3
  // is "O" and one byte.
  const bool introduces = sequence_.size() == 1 && (byte == '[' || byte == 'O');
  const bool is_final = byte >= 0x40 && byte != 0x7f;
  if (introduces || (!is_final && sequence_.size() < longest)) return std::nullopt;
  in_sequence_ = false;
  return sequence_;
}

watch_action watch_keys::take(char byte, const watch_frame& frame, watch_view& view) {
  const auto key = complete(byte);
  if (!key) return watch_action::none;
  if (*key == "q") return watch_action::quit;
  if (const auto order = order_of(*key))
    view = {.order = *order};
  else
    view.first = scrolled(frame, movement_of(*key));
  return watch_action::none;
}

}  // namespace xenpv::evtchn_app
