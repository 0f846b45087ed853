// Calls of intercepted processes that take a path: replaces the files of device_paths.hpp. Like
// libxensim.so, compares a path as it is passed, so a device is not found through a symbolic link
// or relative to a directory descriptor.
#pragma once

#include <optional>
#include <string>

#include "sim/intercept/device_calls.hpp"
#include "sim/intercept/system_call.hpp"

namespace xenpv::sim::intercept {

class path_calls {
 public:
  explicit path_calls(device_calls& devices) : devices_(devices) {}

  /// Answers open(2), stat(2), access(2) and their variants.
  void answer(system_call& call);

 private:
  [[nodiscard]] std::optional<std::string> path_of(const system_call& call);

  device_calls& devices_;
  bool warned_ = false;
};

}  // namespace xenpv::sim::intercept
