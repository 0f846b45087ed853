// Enumerates all sequences of choices in a deterministic run. Each run repeats the previous run up
// to the last choice that has an untried alternative, and takes that alternative.
//
// Independent of the explored system. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace xenpv::model {

class explorer {
 public:
  /// Chooses one of `count` alternatives, 0 to count - 1, in the current run.
  [[nodiscard]] unsigned choose(unsigned count) {
    if (depth_ == path_.size()) {
      path_.push_back({0, count});
      ++states_;
    }
    return path_[depth_++].taken;
  }

  /// Begins the next run; returns false if no run is left. Do not call it before the first run.
  [[nodiscard]] bool next() {
    ++runs_;
    depth_ = 0;
    while (!path_.empty() && path_.back().taken + 1 == path_.back().count)
      path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    ++states_;
    return true;
  }

  /// Number of nodes in the tree of choices. Each node is a state reached by a different history.
  [[nodiscard]] std::uint64_t states() const noexcept { return states_; }
  /// Number of complete histories.
  [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }

 private:
  struct choice {
    unsigned taken;
    unsigned count;
  };
  std::vector<choice> path_;
  std::size_t depth_ = 0;
  std::uint64_t states_ = 0;
  std::uint64_t runs_ = 0;
};

}  // namespace xenpv::model
