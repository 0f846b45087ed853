// The exports of a server. Each export offers a part of a device, with its own options. Indices are
// stable: exports are never removed.
//
// Owned by a server, on its control thread. Does not own the devices.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "nbd/codec_export.hpp"
#include "nbd/device_scheduler.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

class export_table {
 public:
  /// Throws `failure`, see server::add_export().
  void add(blk::block_device& device, export_options options);

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  /// Describes an export to clients. `multi_conn`: announce that clients may use several
  /// connections, if the export supports them.
  [[nodiscard]] export_info describe(std::size_t index, bool multi_conn) const;
  /// Describes all exports, by index.
  [[nodiscard]] std::vector<export_info> describe_all(bool multi_conn) const;
  [[nodiscard]] blk::block_device& device(std::size_t index) const {
    return *entries_.at(index).device;
  }
  /// Returns the scheduler of a device queue, which all exports of the device share.
  [[nodiscard]] device_scheduler& scheduler(std::size_t index, std::size_t queue) const {
    return entries_.at(index).traffic->scheduler(queue);
  }
  /// The export of clients that request no name. There must be at least one export.
  [[nodiscard]] std::size_t default_index() const noexcept { return default_; }
  [[nodiscard]] const std::string& default_name() const {
    return entries_.at(default_).options.name;
  }

  /// Marks all exports of `device` as unavailable, for `reason`. Returns false if there are none
  /// that were available.
  bool withdraw(const blk::block_device& device, const std::string& reason);
  [[nodiscard]] bool is_available(std::size_t index) const {
    return entries_.at(index).unavailable.empty();
  }

  /// Sets the geometry of all exports of `device`.
  void reshape(const blk::block_device& device, const blk::geometry& geometry) noexcept;

 private:
  struct entry {
    blk::block_device* device = nullptr;
    export_options options{};
    blk::geometry geometry{};
    std::shared_ptr<device_traffic> traffic{};
    std::string unavailable{};  ///< the reason
  };
  [[nodiscard]] static export_info describe(const entry& exported, bool multi_conn);

  std::vector<entry> entries_;
  std::size_t default_ = 0;
  bool has_explicit_default_ = false;
};

}  // namespace xenpv::nbd
