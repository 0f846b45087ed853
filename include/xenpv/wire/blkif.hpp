// The block protocol (xen/io/blkif.h) with the ring layout of the x86_64 ABI, which is also the
// layout of the Arm ABI. Constants and structures only. This file checks the layout of the
// structures; tests/unit/wire compares the layout with the Xen header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace xenpv::wire {

/// BLKIF_OP_*
enum class blkif_op : std::uint8_t {
  read = 0,
  write = 1,
  write_barrier = 2,
  flush_diskcache = 3,
  discard = 5,
  indirect = 6,
};
/// Returns the name in blkif.h, such as "FLUSH_DISKCACHE", or "invalid" for a number that blkif.h
/// does not define.
[[nodiscard]] std::string_view to_string(blkif_op op) noexcept;

/// BLKIF_RSP_*
enum class blkif_status : std::int16_t {
  okay = 0,
  error = -1,
  eopnotsupp = -2,
};

/// BLKIF_MAX_SEGMENTS_PER_REQUEST
inline constexpr std::size_t blkif_max_segments_per_request = 11;
/// BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST
inline constexpr std::size_t blkif_max_indirect_pages_per_request = 8;
/// The unit, in bytes, of `sector_number`, `nr_sectors`, `first_sect`, `last_sect` and the
/// `sectors` node, regardless of `sector-size` (blkif.h, since 2024; blkfront/features.hpp lists
/// the backends that differ).
inline constexpr std::size_t blkif_sector_size = 512;

inline constexpr std::uint8_t blkif_discard_secure = 1;  ///< BLKIF_DISCARD_SECURE
inline constexpr unsigned vdisk_cdrom = 1;               ///< VDISK_CDROM, in the `info` node
inline constexpr unsigned vdisk_removable = 2;           ///< VDISK_REMOVABLE
inline constexpr unsigned vdisk_readonly = 4;            ///< VDISK_READONLY

/// XEN_IO_PROTO_ABI_X86_64
inline constexpr std::string_view blkif_protocol_x86_64 = "x86_64-abi";
/// XEN_IO_PROTO_ABI_ARM
inline constexpr std::string_view blkif_protocol_arm = "arm-abi";
/// XEN_IO_PROTO_ABI_NATIVE: the value of the `protocol` node for this layout.
#if defined(__aarch64__) || defined(__arm__)
inline constexpr std::string_view blkif_protocol_native = blkif_protocol_arm;
#else
inline constexpr std::string_view blkif_protocol_native = blkif_protocol_x86_64;
#endif

/// struct blkif_request_segment: the sectors first_sect to last_sect (inclusive) of a page.
struct blkif_segment {
  std::uint32_t gref;       ///< grant reference of the page
  std::uint8_t first_sect;  ///< in units of blkif_sector_size
  std::uint8_t last_sect;   ///< in units of blkif_sector_size; inclusive
  std::uint16_t pad;
};
static_assert(sizeof(blkif_segment) == 8);
static_assert(offsetof(blkif_segment, gref) == 0);
static_assert(offsetof(blkif_segment, first_sect) == 4);
static_assert(offsetof(blkif_segment, last_sect) == 5);
static_assert(offsetof(blkif_segment, pad) == 6);

/// The number of segments that one indirect page describes.
inline constexpr std::size_t blkif_segments_per_indirect_page = 4096 / sizeof(blkif_segment);

/// struct blkif_request
struct blkif_request {
  std::uint8_t operation;    ///< blkif_op, except `discard` and `indirect`
  std::uint8_t nr_segments;  ///< number of valid elements of `seg`
  std::uint16_t handle;      ///< virtual device number
  std::uint32_t pad;
  std::uint64_t id;             ///< chosen by the frontend; repeated in the response
  std::uint64_t sector_number;  ///< start on the disk, in units of blkif_sector_size
  /// The data, in the order of the sectors.
  blkif_segment seg[blkif_max_segments_per_request];
};
static_assert(sizeof(blkif_request) == 112);
static_assert(offsetof(blkif_request, operation) == 0);
static_assert(offsetof(blkif_request, nr_segments) == 1);
static_assert(offsetof(blkif_request, handle) == 2);
static_assert(offsetof(blkif_request, pad) == 4);
static_assert(offsetof(blkif_request, id) == 8);
static_assert(offsetof(blkif_request, sector_number) == 16);
static_assert(offsetof(blkif_request, seg) == 24);

/// struct blkif_request_discard
struct blkif_discard_request {
  std::uint8_t operation;  ///< blkif_op::discard
  std::uint8_t flag;       ///< blkif_discard_secure, or 0
  std::uint16_t handle;    ///< virtual device number
  std::uint32_t pad;
  std::uint64_t id;             ///< chosen by the frontend; repeated in the response
  std::uint64_t sector_number;  ///< start on the disk, in units of blkif_sector_size
  std::uint64_t nr_sectors;     ///< in units of blkif_sector_size
};
static_assert(sizeof(blkif_discard_request) == 32);
static_assert(offsetof(blkif_discard_request, operation) == 0);
static_assert(offsetof(blkif_discard_request, flag) == 1);
static_assert(offsetof(blkif_discard_request, handle) == 2);
static_assert(offsetof(blkif_discard_request, pad) == 4);
static_assert(offsetof(blkif_discard_request, id) == 8);
static_assert(offsetof(blkif_discard_request, sector_number) == 16);
static_assert(offsetof(blkif_discard_request, nr_sectors) == 24);

/// struct blkif_request_indirect
struct blkif_indirect_request {
  std::uint8_t operation;     ///< blkif_op::indirect
  std::uint8_t indirect_op;   ///< blkif_op::read or blkif_op::write
  std::uint16_t nr_segments;  ///< in all indirect pages
  std::uint32_t pad;
  std::uint64_t id;             ///< chosen by the frontend; repeated in the response
  std::uint64_t sector_number;  ///< start on the disk, in units of blkif_sector_size
  std::uint16_t handle;         ///< virtual device number
  std::uint16_t pad2;
  /// Grant references of pages that contain arrays of blkif_segment.
  std::uint32_t indirect_grefs[blkif_max_indirect_pages_per_request];
  std::uint32_t pad3;
};
static_assert(sizeof(blkif_indirect_request) == 64);
static_assert(offsetof(blkif_indirect_request, operation) == 0);
static_assert(offsetof(blkif_indirect_request, indirect_op) == 1);
static_assert(offsetof(blkif_indirect_request, nr_segments) == 2);
static_assert(offsetof(blkif_indirect_request, pad) == 4);
static_assert(offsetof(blkif_indirect_request, id) == 8);
static_assert(offsetof(blkif_indirect_request, sector_number) == 16);
static_assert(offsetof(blkif_indirect_request, handle) == 24);
static_assert(offsetof(blkif_indirect_request, pad2) == 26);
static_assert(offsetof(blkif_indirect_request, indirect_grefs) == 28);
static_assert(offsetof(blkif_indirect_request, pad3) == 60);

/// struct blkif_response. `operation` repeats the request's operation or, for an indirect request,
/// the request's indirect_op.
struct blkif_response {
  std::uint64_t id;        ///< of the request
  std::uint8_t operation;  ///< blkif_op
  std::uint8_t pad;
  std::int16_t status;  ///< blkif_status
  std::uint32_t pad2;
};
static_assert(sizeof(blkif_response) == 16);
static_assert(offsetof(blkif_response, id) == 0);
static_assert(offsetof(blkif_response, operation) == 8);
static_assert(offsetof(blkif_response, pad) == 9);
static_assert(offsetof(blkif_response, status) == 10);
static_assert(offsetof(blkif_response, pad2) == 12);

static_assert(std::is_trivially_copyable_v<blkif_request>);
static_assert(std::is_trivially_copyable_v<blkif_discard_request>);
static_assert(std::is_trivially_copyable_v<blkif_indirect_request>);
static_assert(std::is_trivially_copyable_v<blkif_response>);

}  // namespace xenpv::wire
