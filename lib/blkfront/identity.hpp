// Checks that a new connection leads to the same disk as before, by the backend's nodes: a request
// kept across a lost connection must not be written to another disk. Pure.
#pragma once

#include <string>
#include <string_view>

#include "blkfront/features.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/geometry.hpp"

namespace xenpv::blkfront {

/// The backend's nodes that identify a disk; empty: no such node.
struct disk_identity {
  std::string vdi;     ///< sm-data/vdi-uuid, of XAPI's storage manager
  std::string page83;  ///< sm-data/scsi/0x12/0x83: the device identification for SCSI inquiries
  std::string params;  ///< the disk's source in the toolstack; may differ between hosts
  friend bool operator==(const disk_identity&, const disk_identity&) = default;
};

struct known_disk {
  blk::geometry shape;
  disk_identity identity;
};

[[nodiscard]] disk_identity parse_identity(const node_map& nodes);

/// A disk as recorded earlier, in the domain with this number.
struct remembered_disk {
  known_disk disk;
  unsigned domain = 0;
};

/// One line of printable ASCII, for parse_remembered(). Includes only those parts of the geometry
/// that check_same_disk() compares.
[[nodiscard]] std::string to_text(const remembered_disk& remembered);
[[nodiscard]] result<remembered_disk> parse_remembered(std::string_view text);

/// Refuses (errc::wrong_disk) a smaller disk, a different sector size, a different name (vdi,
/// page83 or params, if both have one), and a formerly writable disk that is now read-only. A
/// larger disk counts as resized if a name matches: vdi or page83, or params on the same host. A
/// CD-ROM drive may return with another medium.
///
/// `may_have_moved`: the guest was suspended meanwhile and may be on another host. There the same
/// disk may have another path, and its copy another VDI and SCSI identity, so names are not
/// compared.
[[nodiscard]] result<void> check_same_disk(const known_disk& before, const known_disk& now,
                                           bool may_have_moved);

}  // namespace xenpv::blkfront
