// The argument of --disk: VDEV,memory=SIZE|file=PATH|null=SIZE[,option...]. Only parses it; does
// not create a disk.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/simulated_disk.hpp"
#include "wire/virtual_device.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {

using wire::backend_kind;
using wire::disk_store;

/// The program that serves a disk.
enum class disk_server : std::uint8_t {
  simulator,  ///< the simulator's own backend, with a personality (backend_kind)
  qemu,       ///< QEMU: backend=qemu-real
  command,    ///< a command: backend=exec:COMMAND
};

struct disk_spec {
  std::string name;          ///< "xvdb"
  std::uint32_t device = 0;  ///< virtual device number, such as 51728
  disk_store store = disk_store::memory;
  std::uint64_t size = 0;  ///< bytes; 0: use the file's size
  std::string path;        ///< the path in file=PATH
  bool read_only = false;
  bool cdrom = false;
  std::uint32_t sector_size = 512;
  disk_server server = disk_server::simulator;
  backend_kind backend = backend_kind::linux_blkback;
  std::string command;       ///< for disk_server::command: passed to /bin/sh -c
  std::string command_type;  ///< for disk_server::command: the value of type=TYPE; empty: vbd
  std::optional<std::uint32_t> queues;      ///< multi-queue-max-queues; unset: backend default
  std::optional<std::uint32_t> ring_order;  ///< max-ring-page-order, 0..4
  std::optional<std::uint32_t> indirect;    ///< feature-max-indirect-segments
  bool persistent = true;
  bool flush = true;
  bool barrier = true;
  bool discard = true;
  bool volatile_cache = false;      ///< for a memory disk: a power cut loses unflushed writes
  bool vdi = false;                 ///< publishes XAPI nodes for a VDI: see toolstack.hpp
  std::vector<std::string> faults;  ///< passed to the backend unchanged
};

/// Options: ro, cdrom, sector=512|4096, backend=KIND, queues=N, order=N, indirect=N, no-persistent,
/// no-flush, no-barrier, no-discard, volatile, vdi, fault=WORD (may be repeated). The error names
/// the invalid option. The backend itself checks the faults, and whether it supports the features.
///
/// An external backend (backend=qemu-real or backend=exec:COMMAND) accepts only file=, ro, cdrom,
/// no-discard and vdi; a command also accepts type=TYPE, and does not need a file. COMMAND cannot
/// contain a comma.
[[nodiscard]] result<disk_spec> parse_disk_spec(std::string_view text);

/// Checks that one guest can have all these disks: QEMU serves everything in `backend/qdisk`, so no
/// other backend can have a disk there.
[[nodiscard]] result<void> check_disks(std::span<const disk_spec> disks);

/// Returns the device type in the path of the disk's backend directory, such as "vbd" or "qdisk".
[[nodiscard]] std::string_view backend_type(const disk_spec& disk) noexcept;

}  // namespace xenpv::sim
