// A client's request, from its header to its reply, and the device requests that transfer its data.
// Owned and recycled by the dispatcher. Typical requests do not allocate memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "nbd/codec.hpp"
#include "nbd/codec_reply.hpp"
#include "nbd/data_buffer.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::nbd {

class dispatcher;
struct client_request;

struct device_request;

/// A unit of output: a header and the data that follows. Owned by the session until it is sent.
struct reply_part {
  client_request* parent = nullptr;
  /// The buffers of this device request and of the following ones in the parent's list are sent
  /// after the header; null: no data.
  device_request* data = nullptr;
  std::span<const std::byte> header;
  reply_part* next = nullptr;
};

/// A request to the device, with its data buffer: pages of the queue, or heap memory when pages are
/// scarce.
struct device_request : blk::request {
  dispatcher* owner = nullptr;
  client_request* parent = nullptr;
  device_request* next = nullptr;          ///< next in the parent's list or in the free list
  device_request* next_waiting = nullptr;  ///< used by the scheduler while it holds the request
  std::uint32_t cost = 0;                  ///< set by the scheduler
  bool is_light = false;                   ///< set by the scheduler
  blk::lease leased;
  data_buffer heap;
  /// The reply chunk for this device request, if the READ is answered in several chunks.
  reply_part chunk;
  std::array<std::byte, extended_data_chunk_size> chunk_header{};
};

struct client_request {
  request_header header;
  wire::nbd_error error = wire::nbd_error::none;
  device_request* first = nullptr;      ///< the data of a reply in one part, in order
  device_request* newest = nullptr;     ///< the end of that list
  std::uint32_t outstanding = 0;        ///< device requests in flight
  std::uint64_t left = 0;               ///< bytes not yet submitted to the device
  std::uint64_t reserved = 0;           ///< memory taken from the account for later buffers
  std::uint64_t next_offset = 0;        ///< offset of the first unsubmitted byte
  device_request* receiving = nullptr;  ///< receives the payload of a WRITE
  std::uint32_t received = 0;           ///< payload bytes in `receiving`
  bool flushing = false;         ///< FUA was submitted with the only device request or as a flush
  bool in_chunks = false;        ///< a READ whose chunks are sent as they complete
  bool in_pieces = false;        ///< its device requests are submitted one after another
  bool is_split_write = false;   ///< a WRITE that needs several device requests
  bool is_listed = false;        ///< in the dispatcher's list of requests with more to submit
  std::uint32_t unsent = 0;      ///< chunks not sent yet
  bool ends_with_chunk = false;  ///< the last data chunk carries the DONE flag

  reply_part last;  ///< the reply, or its final part
  std::array<std::byte, 192> last_header{};

  client_request* next = nullptr;  ///< in the free list or the list of requests in pieces
};

}  // namespace xenpv::nbd
