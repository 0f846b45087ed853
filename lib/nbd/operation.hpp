// One request of a client between its header and its reply, and the pieces of the device that carry
// its bytes. Owned and recycled by the dispatcher; nothing is allocated for the usual ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <system_error>

#include "nbd/codec.hpp"
#include "nbd/codec_reply.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::nbd {

class dispatcher;
struct operation;

struct piece;

/// What goes over the socket in one go: a header, and the data behind it. The sink's until it is
/// sent.
struct reply_part {
  operation* of = nullptr;
  piece* data = nullptr;  ///< whose memory follows the header; null: nothing does
  std::span<const std::byte> header;
  reply_part* next = nullptr;
};

/// A request to the device with the memory it needs: pages of the queue, or the heap when those are
/// short.
struct piece : blk::request {
  dispatcher* owner = nullptr;
  operation* of = nullptr;
  piece* next = nullptr;  ///< of the same operation, or of the free list
  std::optional<blk::lease> leased;
  std::unique_ptr<std::byte[]> heap;
  std::size_t heap_size = 0;
  /// Of a READ that is answered in several chunks: this one.
  reply_part chunk;
  std::array<std::byte, data_chunk_size> chunk_header{};
};

struct operation {
  request_header header;
  wire::nbd_error error = wire::nbd_error::none;
  piece* first = nullptr;         ///< all pieces, newest first
  std::uint32_t outstanding = 0;  ///< pieces with the device
  std::uint64_t left = 0;         ///< bytes not handed to the device yet
  std::uint64_t at = 0;           ///< where they begin
  piece* receiving = nullptr;     ///< of a WRITE: where its payload goes now
  std::uint32_t received = 0;     ///< bytes in it
  bool flushing = false;          ///< FUA is being kept, by its one piece or by a flush of its own
  bool in_chunks = false;         ///< a READ whose pieces are sent as they come
  std::uint32_t unsent = 0;       ///< chunks with the sink
  bool ends_with_chunk = false;   ///< the last of them says that it is the last

  reply_part last;  ///< the reply, or what ends it
  std::array<std::byte, 192> last_header{};

  operation* next = nullptr;  ///< of the free list
};

}  // namespace xenpv::nbd
