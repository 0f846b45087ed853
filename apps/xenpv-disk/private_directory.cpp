#include "private_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "claim.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::string_view prefix = "run-";

/// Locks a directory. Returns an empty descriptor if another process has locked it.
unique_fd lock(const std::string& path) {
  unique_fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory && ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) directory.reset();
  return directory;
}

void remove_directory(const std::string& path) noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

void remove_leftovers(const std::string& parent) {
  std::vector<std::string> paths;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(parent, ignored))
    if (entry.path().filename().string().starts_with(prefix)) paths.push_back(entry.path());
  for (const auto& path : paths) {
    if (!lock(path)) continue;
    log().debug("removing {}, left behind by a killed process", path);
    remove_directory(path);
  }
}

/// False if another process has removed the directory before it was locked.
bool is_still_there(const std::string& path, const unique_fd& directory) {
  struct stat named {};
  struct stat opened {};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(directory.get(), &opened) == 0 &&
         named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

}  // namespace

private_directory::private_directory() {
  constexpr int attempts = 10;
  const auto parent = runtime_directory();
  remove_leftovers(parent);
  for (int attempt = 0; attempt < attempts; ++attempt) {
    path_ = fmt::format("{}/{}XXXXXX", parent, prefix);
    if (::mkdtemp(path_.data()) == nullptr) throw_errno("create a directory like " + path_);
    lock_ = lock(path_);
    if (lock_ && is_still_there(path_, lock_)) return;
    remove_directory(path_);
  }
  throw failure(errc::not_available, fmt::format("create a directory in {}", parent),
                "other processes remove it");
}

private_directory::~private_directory() {
  remove_directory(path_);
}

}  // namespace xenpv::disk_app
