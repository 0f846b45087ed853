// What libxl does to a domain's xenstore tree, and the few files of /sys, /proc and /dev/xen that a
// guest's programs look at. Owned by the host's thread; decides nothing, builds what it is told.
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
#include "xenpv/base/types.hpp"

namespace xenpv::sim {

class toolstack {
 public:
  explicit toolstack(store_service& store) : store_(store) {}

  /// /local/domain/N with libxl's nodes and permissions, its disks' frontend and backend
  /// directories in state Initialising, and @introduceDomain.
  void build_domain(domid domain, const std::string& name, std::span<const disk_spec> disks);
  /// Removes all of it, and @releaseDomain.
  void destroy_domain(domid domain, std::span<const disk_spec> disks);
  /// After a restore: removes the tree of `before`, builds that of `after`. Nothing a guest wrote
  /// survives. `storage_moved`: the disks were migrated, too; those with a `vdi` have another UUID.
  void rebuild_domain(domid before, domid after, const std::string& name,
                      std::span<const disk_spec> disks, bool storage_moved);

  /// Writes the files below `root` that stand for this guest's machine.
  static void build_machine(const std::filesystem::path& root, domid domain,
                            std::uint32_t grant_limit);

 private:
  void write(const std::string& path, std::string_view value,
             std::span<const store_permission> permissions);
  void build_disk(domid domain, const std::string& name, const disk_spec& disk);
  /// As XAPI writes them for tapdisk, with SCSI's page 83 derived from the UUID.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> vdi_nodes(
      const std::string& guest, const disk_spec& disk) const;
  void remove_tree(domid domain, std::span<const disk_spec> disks);

  store_service& store_;
  std::map<std::string, unsigned, std::less<>> storage_moves_;  ///< by the guest's name
};

/// What the block backend has to know of a disk, beyond libxl's nodes: names below `xenpv/` in its
/// directory and their values. `guest`: the domain's name, which outlives its number.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> disk_nodes(const std::string& guest,
                                                                          const disk_spec& disk);
/// Where the toolstack puts a disk: the frontend's directory and the backend's.
[[nodiscard]] std::string frontend_path(domid domain, const disk_spec& disk);
[[nodiscard]] std::string backend_path(domid domain, const disk_spec& disk);

}  // namespace xenpv::sim
