// A private directory below /run/xenpv, for the socket of the run command. Removed by its owner, or
// after the owner was killed, by the next process that creates one. The owner holds a lock on the
// directory, so that a living owner is recognised.
#pragma once

#include <string>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {

class private_directory {
 public:
  /// Removes the directories of dead owners, then creates a new one that only this user can access.
  /// Throws `failure`.
  private_directory();
  ~private_directory();
  private_directory(const private_directory&) = delete;
  private_directory& operator=(const private_directory&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  unique_fd lock_;
};

}  // namespace xenpv::disk_app
