// libxl's part of a domain's xenstore tree, and the few files of /sys, /proc and /dev/xen that a
// guest's programs read. Owned by the host's thread; makes no decisions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sim/disk_spec.hpp"
#include "sim/store_service.hpp"
#include "sim/xen_version.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim {

class toolstack {
 public:
  explicit toolstack(store_service& store) : store_(store) {}

  /// Creates /local/domain/N with libxl's nodes and permissions, and the frontend and backend
  /// directories of its disks in state Initialising; fires @introduceDomain.
  void build_domain(domid domain, const std::string& name, std::span<const disk_spec> disks);
  /// Removes all of it; fires @releaseDomain.
  void destroy_domain(domid domain, std::span<const disk_spec> disks);
  /// After a restore: removes the tree of `old_domain` and builds the tree of `new_domain`. Nodes
  /// that the guest wrote are lost. `storage_moved`: the disks were migrated, too; those with a
  /// `vdi` get a new UUID.
  void rebuild_domain(domid old_domain, domid new_domain, const std::string& name,
                      std::span<const disk_spec> disks, bool storage_moved);

  /// Writes the files below `root` that emulate this guest's machine.
  static void build_machine(const std::filesystem::path& root, domid domain,
                            std::uint32_t grant_limit, xen_version version);

 private:
  void write(const std::string& path, std::string_view value,
             std::span<const store_permission> permissions);
  void build_disk(domid domain, const std::string& name, const disk_spec& disk);
  /// The nodes that XAPI writes for tapdisk, with SCSI's page 83 derived from the UUID.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> vdi_nodes(
      const std::string& guest, const disk_spec& disk) const;
  void remove_tree(domid domain, std::span<const disk_spec> disks);

  store_service& store_;
  std::map<std::string, unsigned, std::less<>> storage_moves_;  ///< by the guest's name
};

/// The settings that the block backend needs for a disk in addition to libxl's nodes: names below
/// `xenpv/` in its directory and their values. `guest`: the domain's name, which outlives its
/// number.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> disk_nodes(const std::string& guest,
                                                                          const disk_spec& disk);
/// The toolstack's paths of a disk: the frontend's directory and the backend's.
[[nodiscard]] std::string frontend_path(domid domain, const disk_spec& disk);
[[nodiscard]] std::string backend_path(domid domain, const disk_spec& disk);

}  // namespace xenpv::sim
