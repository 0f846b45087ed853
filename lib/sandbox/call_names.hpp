// The names of this architecture's system calls, from libseccomp. Read once at start: afterwards,
// no memory needs to be allocated to look up a name. Immutable.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xenpv::sandbox {

class call_names {
 public:
  call_names();

  /// The name of the call with this number; empty if libseccomp does not know it.
  [[nodiscard]] std::string_view find(int number) const noexcept;
  /// The highest known number. A greater number belongs to a call that is newer than libseccomp.
  [[nodiscard]] int highest() const noexcept { return static_cast<int>(names_.size()) - 1; }

 private:
  std::vector<std::string> names_;  ///< by number
};

}  // namespace xenpv::sandbox
