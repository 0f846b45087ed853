// A dispatcher on a fake device. The test completes the device requests and reads the replies.
#pragma once

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "bytes.hpp"
#include "fake_device.hpp"
#include "full_export.hpp"
#include "nbd/dispatcher.hpp"
#include "replies.hpp"

namespace xenpv::nbd::test {

inline constexpr auto fua = wire::nbd_cmd_flag_fua;

class dispatcher_rig {
 public:
  explicit dispatcher_rig(fake_options options = {}, session_terms terms = {},
                          dispatcher_limits limits = {}, std::uint64_t first = 0,
                          shared_resources shared = {})
      : device(std::vector<asio::any_io_executor>{context_.get_executor()}, held(options)),
        queue(device.queue(0)),
        export_(full_export(options.size)),
        terms_(terms),
        dispatch_(
            queue, terms, [this] { ++wake_ups; }, [this] { ++resumed; }, [this] { ++granted; },
            limits, shared, first) {}
  ~dispatcher_rig() { recycle(); }
  dispatcher_rig(const dispatcher_rig&) = delete;
  dispatcher_rig& operator=(const dispatcher_rig&) = delete;

  /// Begins a request as a session does. Returns a WRITE that needs its payload, otherwise null.
  client_request* begin(const sent_request& r) {
    const request_header header{static_cast<std::uint16_t>(r.flags), r.command, r.cookie, r.offset,
                                static_cast<std::uint32_t>(r.length)};
    if (r.command == nbd_command::read) reader_.reads[r.cookie] = r.length;
    const auto checked = check_request(header, export_, terms_);
    EXPECT_TRUE(dispatch_.prepare(header, checked)) << "the request has to wait";
    auto* const op = dispatch_.begin(header, checked);
    dispatch_.commit();
    return op;
  }
  /// Whether such a request could begin now.
  [[nodiscard]] bool can_begin(const sent_request& r) {
    const request_header header{static_cast<std::uint16_t>(r.flags), r.command, r.cookie, r.offset,
                                static_cast<std::uint32_t>(r.length)};
    const bool ready = dispatch_.prepare(header, check_request(header, export_, terms_));
    dispatch_.cancel_prepare();
    return ready;
  }
  /// Sends a WRITE whose payload arrives in pieces of at most `at_once` bytes.
  void write(const sent_request& r, std::string_view payload, std::size_t at_once = 1 << 20) {
    auto* const op = begin(r);
    ASSERT_NE(op, nullptr);
    receive(*op, payload, at_once);
    dispatch_.commit();
  }
  /// Passes the next part of a WRITE's payload. Returns true if the payload is still incomplete.
  bool receive(client_request& op, std::string_view payload, std::size_t at_once = 1 << 20) {
    auto step = payload_step::receive;
    while (!payload.empty()) {
      if (step != payload_step::receive) {
        ADD_FAILURE() << payload.size() << " bytes of the payload are left over";
        break;
      }
      std::vector<std::span<std::byte>> space;
      dispatch_.payload_space(op, space);
      std::size_t put = 0;
      for (const auto stretch : space) {
        const auto count = std::min({stretch.size(), payload.size(), at_once - put});
        std::memcpy(stretch.data(), payload.data(), count);
        payload.remove_prefix(count);
        put += count;
      }
      step = dispatch_.payload_received(op, put);
    }
    return step != payload_step::done;
  }

  /// Returns the replies since the last call, in order. recycle() marks them as sent.
  std::vector<std::string> replies() {
    while (auto* const taken = dispatch_.take_reply()) {
      auto& part = *unsent_.emplace_back(taken);
      reader_.feed({reinterpret_cast<const char*>(part.header.data()), part.header.size()});
      dispatcher::for_each_data(
          part, [&](std::span<std::byte> stretch) { reader_.feed(as_text(stretch)); });
    }
    auto out = reader_.take();
    EXPECT_EQ(reader_.left(), 0U) << "incomplete reply";
    return out;
  }
  /// Marks all replies as sent.
  void recycle() {
    (void)replies();
    for (auto* const part : std::exchange(unsent_, {}))
      dispatch_.sent(*part);
  }
  [[nodiscard]] dispatcher& dispatch() { return dispatch_; }
  [[nodiscard]] const std::string& data() const { return reader_.data; }
  [[nodiscard]] std::uint64_t data_offset() const { return reader_.offset; }
  [[nodiscard]] std::string stored(std::uint64_t offset, std::size_t length) const {
    return as_text(std::span(device.bytes).subspan(offset, length));
  }

 private:
  static fake_options held(fake_options options) {
    options.answers = false;
    return options;
  }

  asio::io_context context_;

 public:
  fake_device device;
  fake_queue& queue;
  unsigned wake_ups = 0;  ///< calls of `replies_ready`
  unsigned resumed = 0;   ///< calls of `resumed`
  unsigned granted = 0;   ///< calls of `granted`

 private:
  export_info export_;
  session_terms terms_;
  std::vector<reply_part*> unsent_;
  dispatcher dispatch_;
  reply_reader reader_;
};

using lines = std::vector<std::string>;

}  // namespace xenpv::nbd::test
