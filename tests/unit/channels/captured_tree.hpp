// Unpacks a capture from captures/ into a directory tree.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "channels/raw_facts.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::test {

/// Returns the content of captures/NAME.txt.
[[nodiscard]] inline std::string capture_text(const std::string& name) {
  const std::filesystem::path folder(XENPV_TEST_CAPTURES);
  std::ifstream file(folder / (name + ".txt"), std::ios::binary);
  if (!file) throw std::runtime_error("no capture " + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class captured_tree {
 public:
  explicit captured_tree(const std::string& name) {
    std::istringstream lines(capture_text(name));
    std::string line;
    std::string path;
    std::string content;
    const auto finish = [&] {
      if (!path.empty()) tree_.with(path, content);
      content.clear();
    };
    while (std::getline(lines, line)) {
      if (line.starts_with("== ")) {
        finish();
        path = line.substr(3);
      } else if (!path.empty()) {
        content += line + "\n";
      }
    }
    finish();
  }

  [[nodiscard]] channels::fact_source place() const {
    return {.root = tree_.root(), .is_capture = true};
  }
  [[nodiscard]] channels::raw_facts read() const { return channels::read_raw_facts(place()); }
  [[nodiscard]] system_root root() const { return tree_.root(); }

  captured_tree& with(std::string_view path, std::string_view content) {
    tree_.with(path, content);
    return *this;
  }
  void remove(std::string_view path) { std::filesystem::remove_all(root().path(path)); }

 private:
  xen::test::fake_root tree_;
};

inline channels::interrupt_table table_of(std::string_view text) {
  return channels::parse_interrupts(text).value();
}

}  // namespace xenpv::test
