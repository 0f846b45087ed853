// A temporary directory tree that emulates a machine's /dev, /proc and /sys. The destructor removes
// the tree. scoped_variable can set XENPV_ROOT to the tree's path.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"

namespace xenpv::xen::test {

class fake_root {
 public:
  fake_root() {
    std::string name = (std::filesystem::temp_directory_path() / "xenpv-root-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    top_ = name;
    std::filesystem::permissions(top_, std::filesystem::perms(0755));
  }
  fake_root(const fake_root&) = delete;
  fake_root& operator=(const fake_root&) = delete;
  ~fake_root() { std::filesystem::remove_all(top_); }

  fake_root& with(std::string_view absolute, std::string_view content = {}) {
    const auto path = root().path(absolute);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return *this;
  }

  [[nodiscard]] system_root root() const { return system_root(top_); }

 private:
  std::filesystem::path top_;
};

/// Sets an environment variable and restores its previous state on destruction.
class scoped_variable {
 public:
  scoped_variable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = ::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  scoped_variable(const scoped_variable&) = delete;
  scoped_variable& operator=(const scoped_variable&) = delete;
  ~scoped_variable() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

}  // namespace xenpv::xen::test
