// One request of a client, from its header to its reply, and the device requests that move its
// bytes. Owned and recycled by the dispatcher; typical requests allocate nothing.
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
struct client_request;

struct device_request;

/// A unit of output: a header, and the data after it. Belongs to the sink until it is sent.
struct reply_part {
  client_request* parent = nullptr;
  device_request* data = nullptr;  ///< its memory follows the header; null: no data
  std::span<const std::byte> header;
  reply_part* next = nullptr;
};

/// A request to the device with its memory: pages of the queue, or heap memory when pages are
/// short.
struct device_request : blk::request {
  dispatcher* owner = nullptr;
  client_request* parent = nullptr;
  device_request* next = nullptr;  ///< of the same parent, or of the free list
  std::optional<blk::lease> leased;
  std::unique_ptr<std::byte[]> heap;
  std::size_t heap_size = 0;
  /// This part of a READ that is answered in several chunks.
  reply_part chunk;
  std::array<std::byte, data_chunk_size> chunk_header{};
};

struct client_request {
  request_header header;
  wire::nbd_error error = wire::nbd_error::none;
  device_request* first = nullptr;      ///< all device requests, newest first
  std::uint32_t outstanding = 0;        ///< device requests with the device
  std::uint64_t left = 0;               ///< bytes not submitted to the device yet
  std::uint64_t next_offset = 0;        ///< where they begin
  device_request* receiving = nullptr;  ///< receives the payload of a WRITE now
  std::uint32_t received = 0;           ///< bytes in it
  bool flushing = false;         ///< FUA in progress: on the only device request, or as a flush
  bool in_chunks = false;        ///< a READ whose parts are sent as they complete
  std::uint32_t unsent = 0;      ///< chunks with the sink
  bool ends_with_chunk = false;  ///< the last chunk has the flag DONE

  reply_part last;  ///< the reply, or its final part
  std::array<std::byte, 192> last_header{};

  client_request* next = nullptr;  ///< of the free list
};

}  // namespace xenpv::nbd
