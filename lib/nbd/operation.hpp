// One request of a client between its header and its reply, and the pieces of the device that carry
// its bytes. Owned and recycled by the dispatcher; nothing is allocated for the usual ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

#include "nbd/codec.hpp"
#include "nbd/codec_reply.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::nbd {

class dispatcher;
struct operation;

/// A request to the device with the memory it needs: pages of the queue, or the heap when those are
/// short.
struct piece : blk::request {
  dispatcher* owner = nullptr;
  operation* of = nullptr;
  piece* next = nullptr;  ///< of the same operation, or of the free list
  std::optional<blk::lease> leased;
  std::unique_ptr<std::byte[]> heap;
  std::size_t heap_size = 0;
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

  /// The reply in front of the data, as it goes over the socket.
  std::array<std::byte, 192> reply{};
  std::size_t reply_size = 0;
  bool has_data = false;  ///< the data of `first` follows

  operation* next = nullptr;  ///< of a list of replies, or of the free list
};

}  // namespace xenpv::nbd
