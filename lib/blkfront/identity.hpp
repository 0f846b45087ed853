// Checks, using the backend's nodes, that a new connection reaches the same disk as before. A
// request kept across a lost connection must not be written to a different disk. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "blkfront/features.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

/// The values of the backend nodes that identify a disk; empty if the node does not exist.
struct disk_identity {
  std::string vdi;     ///< the sm-data/vdi-uuid node of XAPI's storage manager
  std::string page83;  ///< sm-data/scsi/0x12/0x83: the device identification for SCSI inquiries
  std::string
      params;  ///< the disk's source as configured in the toolstack; may differ between hosts
  friend bool operator==(const disk_identity&, const disk_identity&) = default;
};

struct known_disk {
  blk::geometry shape;
  disk_identity identity;
};

[[nodiscard]] disk_identity parse_identity(const node_map& nodes);

/// A disk as recorded earlier, and the ID of the domain in which it was recorded.
struct remembered_disk {
  known_disk disk;
  unsigned domain = 0;
};

/// Returns one line of printable ASCII for parse_remembered(). Includes only those parts of the
/// geometry that check_same_disk() compares.
[[nodiscard]] std::string to_text(const remembered_disk& remembered);
[[nodiscard]] result<remembered_disk> parse_remembered(std::string_view text);

/// Refuses the following with errc::wrong_disk: a smaller disk, a different sector size, a
/// different name (vdi, page83 or params, if both disks have one), and a formerly writable disk
/// that is now read-only. A larger disk is accepted as resized if a name matches: vdi or page83, or
/// params on the same host. A CD-ROM drive may return with a different medium.
///
/// `may_have_moved`: the guest was suspended in between and may be on another host. On another
/// host, the same disk may have a different path, and a copy of the disk may have a different VDI
/// and SCSI identity, so names are not compared.
[[nodiscard]] result<void> check_same_disk(const known_disk& before, const known_disk& now,
                                           bool may_have_moved);

}  // namespace xenpv::blkfront
