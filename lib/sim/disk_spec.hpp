// The words after --disk: VDEV,memory=SIZE|file=PATH|null=SIZE[,option...]. Parsing only; no disk
// is made here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/wire/virtual_device.hpp"

namespace xenpv::sim {

enum class disk_store { memory, file, null };
enum class disk_backend { linux_blkback, qemu, tapdisk, freebsd };

struct disk_spec {
  std::string name;          ///< "xvdb"
  std::uint32_t device = 0;  ///< virtual device number of the xenstore path: 51728
  disk_store store = disk_store::memory;
  std::uint64_t size = 0;  ///< bytes; for file: 0 = the file's own
  std::string path;        ///< of file=
  bool read_only = false;
  bool cdrom = false;
  std::uint32_t sector_size = 512;
  disk_backend backend = disk_backend::linux_blkback;
  std::optional<std::uint32_t> queues;      ///< multi-queue-max-queues; unset = the backend's habit
  std::optional<std::uint32_t> ring_order;  ///< max-ring-page-order, 0..4
  std::optional<std::uint32_t> indirect;    ///< feature-max-indirect-segments
  bool persistent = true;
  bool flush = true;
  bool barrier = true;
  bool discard = true;
  bool volatile_cache = false;      ///< of a memory disk: a power cut loses what was not flushed
  bool vdi = false;                 ///< XAPI's storage manager names it: see toolstack.hpp
  std::vector<std::string> faults;  ///< the backend's words, passed on as they are
};

[[nodiscard]] std::string_view to_string(disk_backend backend) noexcept;

/// Options: ro, cdrom, sector=512|4096, backend=linux|qemu|tapdisk|freebsd, queues=N, order=N,
/// indirect=N, no-persistent, no-flush, no-barrier, no-discard, volatile, vdi, fault=WORD (may be
/// repeated). The error names the word that is wrong. What a fault's word means, and what a kind of
/// backend cannot have, is the backend's to say.
[[nodiscard]] result<disk_spec> parse_disk_spec(std::string_view text);

}  // namespace xenpv::sim
