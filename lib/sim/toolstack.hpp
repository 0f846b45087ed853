// Creates a domain's xenstore nodes, as libxl does, and the few files in /sys, /proc and /dev/xen
// that guest programs read. Used only on the host thread.
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
  /// Each guest has `cpus` vCPUs. `store` must outlive the toolstack.
  toolstack(store_service& store, unsigned cpus) : store_(store), cpus_(cpus) {}

  /// Creates the nodes of a domain with their permissions: for a guest, the nodes that libxl
  /// creates for a PVH guest (/local/domain/N, /vm/UUID, /libxl/N and its console); for domain 0,
  /// the nodes that exist after boot. Creates the frontend and backend directories of the disks, in
  /// state Initialising; fires @introduceDomain.
  void build_domain(domid domain, const std::string& name, std::span<const disk_spec> disks);
  /// Removes everything that build_domain() created; fires @releaseDomain.
  void destroy_domain(domid domain, std::span<const disk_spec> disks);
  /// Call after a restore. Removes the tree of `old_domain` and builds the tree of `new_domain`,
  /// which keeps its UUID. Nodes written by the guest are lost. `storage_moved`: the disks were
  /// migrated too, so those with `vdi` set get a new UUID.
  void rebuild_domain(domid old_domain, domid new_domain, const std::string& name,
                      std::span<const disk_spec> disks, bool storage_moved);

  /// Writes the files below `root` that emulate the domain's /sys, /proc and /dev/xen, where the
  /// devices have these permissions.
  static void build_machine(const std::filesystem::path& root, domid domain,
                            std::uint32_t grant_limit, xen_version version,
                            std::filesystem::perms device_permissions);

 private:
  void write(const std::string& path, std::string_view value,
             std::span<const store_permission> permissions);
  void build_domain_0(const std::string& name);
  void build_guest(domid domain, const std::string& name);
  void build_console(domid domain);
  /// Returns the UUID of a guest; a new guest gets a new one.
  [[nodiscard]] std::string uuid_of(domid domain);
  void build_disk(domid domain, const std::string& name, const disk_spec& disk);
  /// Returns the nodes that XAPI writes for tapdisk, with a SCSI VPD page 0x83 derived from the
  /// UUID.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> vdi_nodes(
      const std::string& guest, const disk_spec& disk) const;
  void remove_tree(domid domain, std::span<const disk_spec> disks);

  store_service& store_;
  unsigned cpus_;
  std::map<domid, std::string> uuids_;  ///< of the guests
  unsigned uuids_created_ = 0;
  std::map<std::string, unsigned, std::less<>> storage_moves_;  ///< by guest name
};

/// Returns the disk settings that the block backend needs in addition to the libxl nodes: node
/// names below `xenpv/` in the backend directory, and their values. For an external backend, this
/// is only its name. `guest`: the domain name, which, unlike the domain ID, survives a restore.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> disk_nodes(const std::string& guest,
                                                                          const disk_spec& disk);
/// Return the xenstore paths of a disk's frontend and backend directories.
[[nodiscard]] std::string frontend_path(domid domain, const disk_spec& disk);
[[nodiscard]] std::string backend_path(domid domain, const disk_spec& disk);

}  // namespace xenpv::sim
