// The random events of the recovery test: restarts, losses, stalls, power cuts, saves and
// migrations. A seed determines the events and their times. Reports each loss to the disk's oracle.
//
// Blocks, so it runs on its own thread alongside the runtime. Does not check data.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/parse.hpp"
#include "sim/recovery_load.hpp"
#include "sim/recovery_oracle.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

using namespace std::chrono_literals;

inline constexpr std::uint64_t usual_size = 16U << 20;
inline constexpr unsigned workers = 12;  // per disk

inline unsigned number_from(const char* variable, unsigned otherwise) {
  const auto* const text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

/// Returns true if XENPV_RECOVERY_WITHOUT, a comma-separated list, contains `kind`.
inline bool is_left_out(std::string_view kind) {
  const auto* const text = std::getenv("XENPV_RECOVERY_WITHOUT");
  const std::string_view all = text == nullptr ? "" : text;
  for (const auto name : split(all, ','))
    if (name == kind) return true;
  return false;
}

/// Whether seeds kill the custodian, unless XENPV_RECOVERY_KILL_CUSTODIAN (0 or 1) is set.
inline constexpr unsigned kill_custodian_by_default = 1;

struct disk_under_load {
  unsigned number = 0;
  bool is_volatile = false;
  bool is_external = false;  ///< served by QEMU (backend=qemu-real)
};

/// Runs the events of one seed.
class misfortune {
 public:
  misfortune(async::runtime& runtime, sim::simulated_toolstack& toolstack, unsigned seed,
             std::vector<disk_under_load> disks)
      : runtime_(runtime), toolstack_(toolstack), random_(seed), disks_(std::move(disks)) {
    for (const auto& disk : disks_)
      oracles_[disk.number] = std::make_unique<recovery_oracle>(cells);
  }

  /// Blocks; call it on its own thread.
  void run() {
    const auto events = 1 + pick(3);
    const bool resizes = pick(5) == 0;
    for (unsigned i = 0; i < events; ++i) {
      nap(12'000);
      strike(disks_[pick(static_cast<unsigned>(disks_.size()))], resizes);
    }
    nap(4000);
  }
  /// Runs the last event. Call after all writers have stopped.
  void cut_power_at_end() {
    for (const auto& disk : disks_)
      if (disk.is_volatile) cut_power(disk.number);
  }
  [[nodiscard]] recovery_oracle& oracle(unsigned disk) { return *oracles_.at(disk); }
  [[nodiscard]] const std::string& story() const noexcept { return story_; }
  [[nodiscard]] const std::vector<unsigned>& resized() const noexcept { return resized_; }

 private:
  /// One region per worker plus the shared region.
  static constexpr std::size_t cells =
      (workers + 1) * recovery_load::region_size / recovery_oracle::cell_size;

  unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }
  void nap(unsigned most_us) {
    std::this_thread::sleep_for(std::chrono::microseconds(pick(most_us)));
  }
  void record(unsigned disk, std::string_view event) {
    story_ += fmt::format(" {}:{}", disk, event);
  }

  void strike(const disk_under_load& disk, bool resizes) {
    if (disk.is_external) return strike_external(disk.number);
    const auto number = disk.number;
    switch (pick(resizes ? 10 : 14)) {
      case 0:
        return restart(number);
      case 1:
        if (disk.is_volatile && !is_left_out("cuts")) return cut_power(number);
        return restart(number);
      case 2:
        return vanish(number);
      case 3:
        return stall(number);
      case 4:
        return be_late(number);
      case 5:
        return be_late_and_lost(disk);
      case 6:
        return rebuild(number);
      case 7:
        record(number, "close");
        closed_.push_back(number);
        return toolstack_.begin_closing(number);
      case 8:
        return kill_custodian();
      case 9:
        if (resizes) return grow(number);
        restart(number);
        nap(300);
        return restart(number);
      case 10:
      case 11:
        return save(number, false);
      case 12:
        return save(number, true);
      default:
        return save(number, pick(2) == 0, !is_left_out("moves"));
    }
  }

  /// The events for a real backend, which has no faults to inject. It keeps its data when it is
  /// killed, because the data is in the page cache. The toolstack does not close a disk here: QEMU
  /// 7.2 crashes if it must disconnect while requests are in flight.
  void strike_external(unsigned disk) {
    switch (pick(8)) {
      case 0:
        return kill_custodian();
      case 1:
        return save(disk, false);
      case 2:
        return save(disk, true);
      default:
        return restart(disk);
    }
  }

  [[nodiscard]] bool is_external(unsigned disk) const {
    return std::any_of(disks_.begin(), disks_.end(), [disk](const disk_under_load& d) {
      return d.number == disk && d.is_external;
    });
  }

  void restart(unsigned disk) {
    record(disk, "restart");
    oracle(disk).note_loss();
    // One QEMU serves all external disks.
    if (is_external(disk))
      for (const auto& other : disks_)
        oracle(other.number).note_loss();
    toolstack_.restart(disk);
  }

  /// A power cut must not happen between a resume and the reconnect, or go undetected until a
  /// suspend: the frontend could not distinguish it from the resume (xenpv-recovery(7)).
  void cut_power(unsigned disk) {
    if (std::exchange(was_saved_, false)) await_connection(disk);
    record(disk, "power-cut");
    oracle(disk).begin_power_cut();
    toolstack_.cut_power(disk, pick(1'000'000));
    oracle(disk).end_power_cut();
    cut_.push_back(disk);
  }

  void vanish(unsigned disk) {
    record(disk, "vanish");
    oracle(disk).note_loss();
    toolstack_.set_faults(disk, fmt::format("vanish={}", 1 + pick(20)));
    nap(8000);
    toolstack_.write(disk, "xenpv/fault", "");
    toolstack_.restart(disk);
  }

  void stall(unsigned disk) {
    record(disk, "stall");
    toolstack_.set_faults(disk, fmt::format("stall={}", pick(20)));
    nap(8000);
    toolstack_.set_faults(disk, "none");
  }

  /// The backend executes some writes late, possibly after the client's deadline.
  void be_late(unsigned disk) {
    record(disk, "late");
    toolstack_.set_faults(disk, fmt::format("late={}ms:1/{}", 1 + pick(100), 1 + pick(8)));
    nap(100'000);
    toolstack_.set_faults(disk, "none");
  }

  /// The backend holds some writes and executes them only when its connection ends.
  void be_late_and_lost(const disk_under_load& disk) {
    record(disk.number, "late");
    toolstack_.set_faults(disk.number, fmt::format("late=60s:1/{}", 2 + pick(8)));
    nap(60'000);
    if (disk.is_volatile && !is_left_out("cuts") && pick(2) == 0)
      cut_power(disk.number);
    else
      restart(disk.number);
    toolstack_.set_faults(disk.number, "none");
  }

  void rebuild(unsigned disk) {
    record(disk, "rebuild");
    oracle(disk).note_loss();
    toolstack_.remove_backend(disk);
    nap(8000);
    toolstack_.rebuild_backend(disk);
  }

  void kill_custodian() {
    auto* const custodian = runtime_.custodian();
    if (custodian == nullptr ||
        number_from("XENPV_RECOVERY_KILL_CUSTODIAN", kill_custodian_by_default) == 0)
      return;
    story_ += " kill-custodian";
    ::kill(custodian->process(), SIGKILL);
  }

  /// Stalls the backend first in half of the cases, so that requests are in flight.
  void save(unsigned disk, bool same_number, bool storage_moved = false) {
    for (const auto number : std::exchange(cut_, {}))
      await_connection(number);
    // After the save, a different backend may replace the one that closed.
    for (const auto number : std::exchange(closed_, {}))
      oracle(number).note_loss();
    story_ += storage_moved ? " move" : same_number ? " save-same-number" : " save";
    if (pick(2) == 0 && !is_external(disk)) {
      record(disk, "stall");
      toolstack_.set_faults(disk, fmt::format("stall={}", pick(10)));
      nap(3000);
    }
    toolstack_.save_restore(same_number, std::chrono::milliseconds(12 + pick(8)), storage_moved);
    was_saved_ = true;
  }

  void await_connection(unsigned disk) {
    const auto is_connected = [&] {
      return toolstack_.frontend_state(disk) == "4" && toolstack_.read(disk, "state") == "4";
    };
    // Wait twice: the first connection may predate a loss that the frontend has not detected yet.
    for (unsigned i = 0; i < 5000 && !is_connected(); ++i)
      std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(100ms);
    for (unsigned i = 0; i < 5000 && !is_connected(); ++i)
      std::this_thread::sleep_for(1ms);
  }

  /// Waits for the connection first: a frontend does not reconnect to a disk that has grown.
  void grow(unsigned disk) {
    record(disk, "grow");
    await_connection(disk);
    toolstack_.resize(disk, usual_size + (1U << 20));
    std::this_thread::sleep_for(300ms);
    resized_.push_back(disk);
  }

  async::runtime& runtime_;
  sim::simulated_toolstack& toolstack_;
  std::mt19937 random_;
  std::vector<disk_under_load> disks_;
  std::map<unsigned, std::unique_ptr<recovery_oracle>> oracles_;
  std::vector<unsigned> resized_;
  bool was_saved_ = false;
  std::vector<unsigned> cut_;     ///< disks with a power cut since the last save
  std::vector<unsigned> closed_;  ///< disks whose backend closed since the last save
  std::string story_;
};

}  // namespace xenpv::blkfront
