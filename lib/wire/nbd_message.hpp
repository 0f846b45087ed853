// The fixed-size parts of NBD messages (doc/proto.md of the NBD project; comments cite its
// sections) as sent over a socket: big-endian and packed.
#pragma once

#include <boost/endian/buffers.hpp>
#include <cstddef>
#include <type_traits>

namespace xenpv::wire {

using be16 = boost::endian::big_uint16_buf_t;
using be32 = boost::endian::big_uint32_buf_t;
using be64 = boost::endian::big_uint64_buf_t;

/// The first message from the server. The client replies with 32 bits of flags.
struct nbd_greeting {
  be64 magic;
  be64 option_magic;
  be16 flags;
};
static_assert(sizeof(nbd_greeting) == 18);
static_assert(offsetof(nbd_greeting, magic) == 0);
static_assert(offsetof(nbd_greeting, option_magic) == 8);
static_assert(offsetof(nbd_greeting, flags) == 16);

/// Followed by `length` bytes.
struct nbd_option_header {
  be64 magic;
  be32 option;
  be32 length;
};
static_assert(sizeof(nbd_option_header) == 16);
static_assert(offsetof(nbd_option_header, magic) == 0);
static_assert(offsetof(nbd_option_header, option) == 8);
static_assert(offsetof(nbd_option_header, length) == 12);

/// Followed by `length` bytes.
struct nbd_option_reply_header {
  be64 magic;
  be32 option;
  be32 type;
  be32 length;
};
static_assert(sizeof(nbd_option_reply_header) == 20);
static_assert(offsetof(nbd_option_reply_header, magic) == 0);
static_assert(offsetof(nbd_option_reply_header, option) == 8);
static_assert(offsetof(nbd_option_reply_header, type) == 12);
static_assert(offsetof(nbd_option_reply_header, length) == 16);

/// Reply to NBD_OPT_EXPORT_NAME. Followed by nbd_export_name_zeroes zero bytes unless both sides
/// set NO_ZEROES.
struct nbd_export_name_reply {
  be64 size;
  be16 flags;
};
static_assert(sizeof(nbd_export_name_reply) == 10);
static_assert(offsetof(nbd_export_name_reply, size) == 0);
static_assert(offsetof(nbd_export_name_reply, flags) == 8);

/// NBD_INFO_EXPORT
struct nbd_info_export {
  be16 type;
  be64 size;
  be16 flags;
};
static_assert(sizeof(nbd_info_export) == 12);
static_assert(offsetof(nbd_info_export, type) == 0);
static_assert(offsetof(nbd_info_export, size) == 2);
static_assert(offsetof(nbd_info_export, flags) == 10);

/// NBD_INFO_BLOCK_SIZE
struct nbd_info_block_size {
  be16 type;
  be32 minimum;
  be32 preferred;
  be32 maximum;
};
static_assert(sizeof(nbd_info_block_size) == 14);
static_assert(offsetof(nbd_info_block_size, type) == 0);
static_assert(offsetof(nbd_info_block_size, minimum) == 2);
static_assert(offsetof(nbd_info_block_size, preferred) == 6);
static_assert(offsetof(nbd_info_block_size, maximum) == 10);

/// Section "Request message". NBD_CMD_WRITE is followed by `length` bytes.
struct nbd_request {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be64 offset;
  be32 length;
};
static_assert(sizeof(nbd_request) == 28);
static_assert(offsetof(nbd_request, magic) == 0);
static_assert(offsetof(nbd_request, flags) == 4);
static_assert(offsetof(nbd_request, type) == 6);
static_assert(offsetof(nbd_request, cookie) == 8);
static_assert(offsetof(nbd_request, offset) == 16);
static_assert(offsetof(nbd_request, length) == 24);

/// Section "Simple reply message". After a successful read, the data follows.
struct nbd_simple_reply {
  be32 magic;
  be32 error;
  be64 cookie;
};
static_assert(sizeof(nbd_simple_reply) == 16);
static_assert(offsetof(nbd_simple_reply, magic) == 0);
static_assert(offsetof(nbd_simple_reply, error) == 4);
static_assert(offsetof(nbd_simple_reply, cookie) == 8);

/// Section "Structured reply chunk message". Followed by `length` bytes of payload.
struct nbd_chunk_header {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be32 length;
};
static_assert(sizeof(nbd_chunk_header) == 20);
static_assert(offsetof(nbd_chunk_header, magic) == 0);
static_assert(offsetof(nbd_chunk_header, flags) == 4);
static_assert(offsetof(nbd_chunk_header, type) == 6);
static_assert(offsetof(nbd_chunk_header, cookie) == 8);
static_assert(offsetof(nbd_chunk_header, length) == 16);

/// Section "Request message", for clients that negotiated extended headers. Followed by `length`
/// bytes if `flags` includes NBD_CMD_FLAG_PAYLOAD_LEN.
struct nbd_extended_request {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be64 offset;
  be64 length;
};
static_assert(sizeof(nbd_extended_request) == 32);
static_assert(offsetof(nbd_extended_request, magic) == 0);
static_assert(offsetof(nbd_extended_request, flags) == 4);
static_assert(offsetof(nbd_extended_request, type) == 6);
static_assert(offsetof(nbd_extended_request, cookie) == 8);
static_assert(offsetof(nbd_extended_request, offset) == 16);
static_assert(offsetof(nbd_extended_request, length) == 24);

/// Section "Extended reply chunk message". Followed by `length` bytes of payload.
struct nbd_extended_chunk_header {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be64 offset;  ///< of the request
  be64 length;
};
static_assert(sizeof(nbd_extended_chunk_header) == 32);
static_assert(offsetof(nbd_extended_chunk_header, magic) == 0);
static_assert(offsetof(nbd_extended_chunk_header, flags) == 4);
static_assert(offsetof(nbd_extended_chunk_header, type) == 6);
static_assert(offsetof(nbd_extended_chunk_header, cookie) == 8);
static_assert(offsetof(nbd_extended_chunk_header, offset) == 16);
static_assert(offsetof(nbd_extended_chunk_header, length) == 24);

static_assert(std::is_trivially_copyable_v<nbd_option_reply_header>);
static_assert(std::is_trivially_copyable_v<nbd_request>);
static_assert(std::is_trivially_copyable_v<nbd_simple_reply>);
static_assert(std::is_trivially_copyable_v<nbd_chunk_header>);
static_assert(std::is_trivially_copyable_v<nbd_extended_request>);
static_assert(std::is_trivially_copyable_v<nbd_extended_chunk_header>);

}  // namespace xenpv::wire
