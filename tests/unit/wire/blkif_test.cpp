#include "xenpv/wire/blkif.hpp"

#include <gtest/gtest.h>
#include <xen/xen.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

// The Xen header expects fixed-width types and memset() to be declared.
#include <xen/io/blkif.h>
#include <xen/io/protocols.h>

#include "xenpv/ring/shared_ring.hpp"

namespace xenpv::wire {
namespace {

TEST(blkif_op, has_the_numbers_and_names_of_xen) {
  struct known {
    blkif_op ours;
    int xens;
    const char* name;
  };
  const known all[] = {
      {blkif_op::read, BLKIF_OP_READ, "READ"},
      {blkif_op::write, BLKIF_OP_WRITE, "WRITE"},
      {blkif_op::write_barrier, BLKIF_OP_WRITE_BARRIER, "WRITE_BARRIER"},
      {blkif_op::flush_diskcache, BLKIF_OP_FLUSH_DISKCACHE, "FLUSH_DISKCACHE"},
      {blkif_op::discard, BLKIF_OP_DISCARD, "DISCARD"},
      {blkif_op::indirect, BLKIF_OP_INDIRECT, "INDIRECT"},
  };
  for (const auto& [ours, xens, name] : all) {
    EXPECT_EQ(static_cast<int>(ours), xens) << name;
    EXPECT_EQ(to_string(ours), name);
  }
}

TEST(blkif_op, is_invalid_for_reserved_and_undefined_numbers) {
  EXPECT_EQ(to_string(blkif_op{BLKIF_OP_RESERVED_1}), "invalid");
  EXPECT_EQ(to_string(blkif_op{7}), "invalid");
  EXPECT_EQ(to_string(blkif_op{255}), "invalid");
}

TEST(blkif_status, has_the_numbers_of_xen) {
  EXPECT_EQ(static_cast<int>(blkif_status::okay), BLKIF_RSP_OKAY);
  EXPECT_EQ(static_cast<int>(blkif_status::error), BLKIF_RSP_ERROR);
  EXPECT_EQ(static_cast<int>(blkif_status::eopnotsupp), BLKIF_RSP_EOPNOTSUPP);
}

TEST(blkif, has_the_constants_of_xen) {
  EXPECT_EQ(blkif_max_segments_per_request, std::size_t{BLKIF_MAX_SEGMENTS_PER_REQUEST});
  EXPECT_EQ(blkif_max_indirect_pages_per_request,
            std::size_t{BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST});
  EXPECT_EQ(blkif_discard_secure, BLKIF_DISCARD_SECURE);
  EXPECT_EQ(vdisk_cdrom, unsigned{VDISK_CDROM});
  EXPECT_EQ(vdisk_removable, unsigned{VDISK_REMOVABLE});
  EXPECT_EQ(vdisk_readonly, unsigned{VDISK_READONLY});
  EXPECT_EQ(blkif_protocol_x86_64, XEN_IO_PROTO_ABI_X86_64);
  EXPECT_EQ(blkif_protocol_arm, XEN_IO_PROTO_ABI_ARM);
  EXPECT_EQ(blkif_protocol_native, XEN_IO_PROTO_ABI_NATIVE);
  // The header defines these only in comments.
  EXPECT_EQ(blkif_sector_size, 512u);
  EXPECT_EQ(blkif_segments_per_indirect_page, 512u);
}

// Expects that a member has the same offset and the same size in both structs.
#define EXPECT_SAME_MEMBER(ours, xens, member)               \
  EXPECT_EQ(offsetof(ours, member), offsetof(xens, member)); \
  EXPECT_EQ(sizeof(std::declval<ours>().member), sizeof(std::declval<xens>().member))

TEST(blkif, segment_has_the_layout_of_xen) {
  EXPECT_EQ(sizeof(blkif_segment), sizeof(::blkif_request_segment));
  EXPECT_EQ(alignof(blkif_segment), alignof(::blkif_request_segment));
  EXPECT_SAME_MEMBER(blkif_segment, ::blkif_request_segment, gref);
  EXPECT_SAME_MEMBER(blkif_segment, ::blkif_request_segment, first_sect);
  EXPECT_SAME_MEMBER(blkif_segment, ::blkif_request_segment, last_sect);
}

TEST(blkif, request_has_the_layout_of_xen) {
  EXPECT_EQ(sizeof(blkif_request), sizeof(::blkif_request));
  EXPECT_EQ(alignof(blkif_request), alignof(::blkif_request));
  EXPECT_SAME_MEMBER(blkif_request, ::blkif_request, operation);
  EXPECT_SAME_MEMBER(blkif_request, ::blkif_request, nr_segments);
  EXPECT_SAME_MEMBER(blkif_request, ::blkif_request, handle);
  EXPECT_SAME_MEMBER(blkif_request, ::blkif_request, id);
  EXPECT_SAME_MEMBER(blkif_request, ::blkif_request, sector_number);
  EXPECT_SAME_MEMBER(blkif_request, ::blkif_request, seg);
}

TEST(blkif, discard_request_has_the_layout_of_xen) {
  EXPECT_EQ(sizeof(blkif_discard_request), sizeof(::blkif_request_discard));
  EXPECT_EQ(alignof(blkif_discard_request), alignof(::blkif_request_discard));
  EXPECT_SAME_MEMBER(blkif_discard_request, ::blkif_request_discard, operation);
  EXPECT_SAME_MEMBER(blkif_discard_request, ::blkif_request_discard, flag);
  EXPECT_SAME_MEMBER(blkif_discard_request, ::blkif_request_discard, handle);
  EXPECT_SAME_MEMBER(blkif_discard_request, ::blkif_request_discard, id);
  EXPECT_SAME_MEMBER(blkif_discard_request, ::blkif_request_discard, sector_number);
  EXPECT_SAME_MEMBER(blkif_discard_request, ::blkif_request_discard, nr_sectors);
}

TEST(blkif, indirect_request_has_the_layout_of_xen) {
  EXPECT_EQ(sizeof(blkif_indirect_request), sizeof(::blkif_request_indirect));
  EXPECT_EQ(alignof(blkif_indirect_request), alignof(::blkif_request_indirect));
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, operation);
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, indirect_op);
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, nr_segments);
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, id);
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, sector_number);
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, handle);
  EXPECT_SAME_MEMBER(blkif_indirect_request, ::blkif_request_indirect, indirect_grefs);
}

TEST(blkif, response_has_the_layout_of_xen) {
  EXPECT_EQ(sizeof(blkif_response), sizeof(::blkif_response));
  EXPECT_EQ(alignof(blkif_response), alignof(::blkif_response));
  EXPECT_SAME_MEMBER(blkif_response, ::blkif_response, id);
  EXPECT_SAME_MEMBER(blkif_response, ::blkif_response, operation);
  EXPECT_SAME_MEMBER(blkif_response, ::blkif_response, status);
}

TEST(blkif, ring_has_the_layout_of_xen) {
  using ring::ring_header;
  EXPECT_EQ(sizeof(ring_header), offsetof(::blkif_sring_t, ring));
  EXPECT_SAME_MEMBER(ring_header, ::blkif_sring_t, req_prod);
  EXPECT_SAME_MEMBER(ring_header, ::blkif_sring_t, req_event);
  EXPECT_SAME_MEMBER(ring_header, ::blkif_sring_t, rsp_prod);
  EXPECT_SAME_MEMBER(ring_header, ::blkif_sring_t, rsp_event);
  EXPECT_EQ(sizeof(::blkif_sring_entry), 112u);
  EXPECT_EQ(sizeof(blkif_request), sizeof(::blkif_sring_entry));
}

TEST(blkif, request_has_its_bytes_in_order) {
  if (std::endian::native != std::endian::little) GTEST_SKIP() << "expects little endian";
  blkif_request request{};
  request.operation = 1;
  request.nr_segments = 2;
  request.handle = 0x0403;
  request.id = 0x0F0E0D0C0B0A0908;
  request.sector_number = 0x1716151413121110;
  request.seg[0] = {0x1B1A1918, 0x1C, 0x1D, 0};
  std::array<unsigned char, 32> bytes{};
  std::memcpy(bytes.data(), &request, bytes.size());
  const std::array<unsigned char, 32> golden = {0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00,
                                                0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
                                                0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                                0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x00, 0x00};
  EXPECT_EQ(bytes, golden);
}

#undef EXPECT_SAME_MEMBER

}  // namespace
}  // namespace xenpv::wire
