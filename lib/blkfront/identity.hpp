// Whether the disk behind a new connection is the one that was there before, as far as its backend
// tells: a request kept over a lost connection must not be written to another disk. Pure.
#pragma once

#include <string>
#include <string_view>

#include "blkfront/features.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/geometry.hpp"

namespace xenpv::blkfront {

/// Nodes of the backend's that name a disk; empty: it has no such node.
struct disk_identity {
  std::string vdi;     ///< sm-data/vdi-uuid, of XAPI's storage manager
  std::string page83;  ///< sm-data/scsi/0x12/0x83: the device's own, for SCSI's inquiry
  std::string params;  ///< what the toolstack had it made from; may differ from host to host
  friend bool operator==(const disk_identity&, const disk_identity&) = default;
};

struct known_disk {
  blk::geometry shape;
  disk_identity identity;
};

[[nodiscard]] disk_identity parse_identity(const node_map& nodes);

/// A disk as somebody else knew it, in a domain of this number.
struct remembered_disk {
  known_disk disk;
  unsigned domain = 0;
};

/// One line of printable ASCII, for parse_remembered(). Of the shape, only what check_same_disk()
/// compares.
[[nodiscard]] std::string to_text(const remembered_disk& disk);
[[nodiscard]] result<remembered_disk> parse_remembered(std::string_view text);

/// Refuses (errc::wrong_disk) a smaller disk, another sector size, another name (vdi, page83 or
/// params, where both have one), and a disk that was writable and is not. A larger disk is the same
/// one, resized, if a name says so: the same vdi or page83, or the same params on the same host. A
/// drive with removable media may come back with another one.
///
/// `may_have_moved`: the guest was suspended meanwhile and may be on another host now, where the
/// same disk may have another path, and its copy another VDI and SCSI identity: no name is
/// compared.
[[nodiscard]] result<void> check_same_disk(const known_disk& before, const known_disk& now,
                                           bool may_have_moved);

}  // namespace xenpv::blkfront
