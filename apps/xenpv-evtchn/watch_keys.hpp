// The keys of watch: combines the bytes of a terminal's escape sequences into keys, and applies
// keys to the view. Pure: the caller reads the bytes and draws.
#pragma once

#include <optional>
#include <string>

#include "watch_view.hpp"

namespace xenpv::evtchn_app {

enum class watch_action { none, quit };

class watch_keys {
 public:
  /// Takes the next byte. `view` changes if the byte completes a key: it is sorted in another order
  /// (then scrolled to the top) or scrolled, by pages as large as those of `frame`. Unknown keys
  /// and sequences have no effect.
  [[nodiscard]] watch_action take(char byte, const watch_frame& frame, watch_view& view);

 private:
  /// Returns the key that `byte` completes: a character, or the final part of a sequence, such as
  /// "[A" or "[5~".
  [[nodiscard]] std::optional<std::string> complete(char byte);

  std::string sequence_;  ///< the bytes after ESC, or empty
  bool in_sequence_ = false;
};

}  // namespace xenpv::evtchn_app
