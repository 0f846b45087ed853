// Plans how to spread channels over a group of CPUs: all CPUs, or the CPUs of one NUMA node. Pure.
// balance.hpp adds the policies and the reasons, and decides whether planning is worthwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "channels/balance.hpp"

namespace xenpv::channels {

/// One step of a plan. A later step may move the same channel again.
struct planned_step {
  std::size_t channel = 0;  ///< index in balance_input::channels
  std::size_t from = 0;     ///< index in balance_input::cpus
  std::size_t to = 0;
};

class spread_planner {
 public:
  /// Plans for the channels whose CPU is in `cpus`. Keeps a reference to `input`.
  spread_planner(const balance_input& input, const std::vector<unsigned>& cpus);

  /// Returns the steps, or none if their total gain is too small.
  [[nodiscard]] std::vector<planned_step> plan();

 private:
  struct candidate {
    std::size_t channel = 0;
    std::size_t cpu = 0;  ///< index in balance_input::cpus
    bool has_moved = false;
  };

  void add(std::size_t channel, std::size_t cpu);
  /// The load that a channel adds to a CPU.
  [[nodiscard]] std::uint64_t load_on(const candidate& entry, std::size_t cpu) const;
  /// The load in excess of an even distribution.
  [[nodiscard]] double excess_of(std::size_t cpu) const;
  [[nodiscard]] double total_excess() const;
  [[nodiscard]] double even_load() const;
  [[nodiscard]] candidate* best_to_move(std::size_t busy, std::size_t idlest);
  void move(candidate& entry, std::size_t cpu);
  bool take_step(std::vector<planned_step>& steps);

  const balance_input& input_;
  std::vector<std::size_t> cpus_ = {};  ///< the group, as indices in balance_input::cpus
  std::vector<candidate> candidates_ = {};
  std::vector<std::uint64_t> loads_ = {};  ///< by index in balance_input::cpus
  std::vector<std::uint64_t> fixed_ = {};  ///< the part of loads_ that cannot move
  double even_ = 0;
};

}  // namespace xenpv::channels
