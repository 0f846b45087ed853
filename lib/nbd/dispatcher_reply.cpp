// Encodes the dispatcher's replies and queues them.
#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

using wire::nbd_command;
using wire::nbd_error;

void dispatcher::refuse(client_request& request, nbd_error error, std::string_view reason) {
  request.error = error;
  request.left = 0;
  refusal_reason_ = reason;
  finish(request);
  refusal_reason_ = {};
}

/// Encodes the header of a chunk with the data of `child`.
std::span<const std::byte> dispatcher::encode_chunk(device_request& child, bool is_last) const {
  const auto& request = child.parent->header;
  const auto length = static_cast<std::uint32_t>(child.length);
  const auto offset = child.offset - first_;
  const auto whole = std::span(child.chunk_header);
  if (terms_.extended) {
    encode_extended_data(whole, {request.cookie, request.offset}, offset, length, is_last);
    return whole;
  }
  encode_offset_data(whole.first<data_chunk_size>(), request.cookie, offset, length, is_last);
  return whole.first<data_chunk_size>();
}

/// Encodes the reply, or its last chunk, and queues it.
void dispatcher::finish(client_request& request) {
  const bool reads = request.header.type == nbd_command::read;
  const auto cookie = request.header.cookie;
  const auto whole = std::span(request.last_header);
  if (request.error != nbd_error::none) {
    ++statistics_.errors;
    if (terms_.extended)
      encode_extended(request, refusal_reason_);
    else if (terms_.structured)
      request.last.header =
          whole.first(encode_error(whole, cookie, request.error, refusal_reason_));
    else
      encode_simple(request, request.error);
  } else if (reads && request.header.length > 0) {
    statistics_.bytes_read += request.header.length;
    request.last.data = request.first;
    if (terms_.extended) {
      encode_extended(request, {});
    } else if (terms_.structured) {
      encode_offset_data(whole.first<data_chunk_size>(), cookie, request.header.offset,
                         static_cast<std::uint32_t>(request.header.length));
      request.last.header = whole.first<data_chunk_size>();
    } else {
      encode_simple(request, nbd_error::none);
    }
  } else if (reads && terms_.structured && !terms_.extended) {
    encode_done(whole.first<done_chunk_size>(), cookie);
    request.last.header = whole.first<done_chunk_size>();
  } else {
    if (request.header.type == nbd_command::write)
      statistics_.bytes_written += request.header.length;
    if (terms_.extended)
      encode_extended(request, {});
    else
      encode_simple(request, nbd_error::none);
  }
  queue_reply(request.last);
}

void dispatcher::encode_simple(client_request& request, nbd_error error) {
  const auto header = std::span(request.last_header).first<simple_reply_size>();
  encode_simple_reply(header, request.header.cookie, error);
  request.last.header = header;
}

void dispatcher::encode_extended(client_request& request, std::string_view reason) {
  const auto whole = std::span(request.last_header);
  const chunk_subject subject{request.header.cookie, request.header.offset};
  if (request.error != nbd_error::none) {
    request.last.header = whole.first(encode_extended_error(whole, subject, request.error, reason));
  } else if (request.last.data != nullptr) {
    encode_extended_data(whole.first<extended_data_chunk_size>(), subject, request.header.offset,
                         static_cast<std::uint32_t>(request.header.length));
    request.last.header = whole.first<extended_data_chunk_size>();
  } else {
    encode_extended_done(whole.first<extended_done_chunk_size>(), subject);
    request.last.header = whole.first<extended_done_chunk_size>();
  }
}

void dispatcher::queue_reply(reply_part& part) {
  part.next = nullptr;
  const bool is_first = first_reply_ == nullptr;
  (is_first ? first_reply_ : last_reply_->next) = &part;
  last_reply_ = &part;
  if (is_first) replies_ready_();
}

}  // namespace xenpv::nbd
