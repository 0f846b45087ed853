// An export as the user describes it: a disk, or a part of one, with its name and access. Parsed
// from the arguments of the serve command. Does not access the disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::disk_app {

/// The part of a disk that an export covers: a byte range or a partition, not both.
struct export_part {
  std::optional<std::uint64_t> offset;  ///< first byte; unset: 0
  std::optional<std::uint64_t> size;    ///< in bytes; unset: up to the end of the disk
  std::optional<unsigned> partition;    ///< as Linux numbers partitions

  [[nodiscard]] bool is_whole_disk() const noexcept { return !offset && !size && !partition; }
};

struct export_spec {
  std::string disk;  ///< any name of the disk
  std::string name;  ///< empty: the disk's name
  export_part part;
  bool read_only = false;
  bool is_default = false;
};

/// Parses "DISK[,name=EXPORT][,read-only][,offset=SIZE][,size=SIZE][,partition=N][,default]".
[[nodiscard]] result<export_spec> parse_export(std::string_view text, std::string_view name);

/// Checks one part: a partition excludes an offset and a size, and a size must not be 0.
[[nodiscard]] result<void> check_part(const export_part& part, std::string_view disk);

/// Completes `exports` with options that apply to all of them (`read_only`), or to the only one
/// (`name` and `part`). Returns an error if such an option is given with several exports or is
/// already set for the export, or if there is more than one default export.
[[nodiscard]] result<void> apply_common_options(std::vector<export_spec>& exports,
                                                const std::string& name, const export_part& part,
                                                bool read_only);

/// The name of an export whose user gave none: "xvdb", "xvdb1" for a partition.
[[nodiscard]] std::string default_export_name(std::string_view disk, const export_part& part);

}  // namespace xenpv::disk_app
