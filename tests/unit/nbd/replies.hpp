// Encodes requests of the transmission phase, and formats each reply as one line.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bytes.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd::test {

using wire::nbd_command;

struct sent_request {
  nbd_command command = nbd_command::read;
  std::uint64_t cookie = 1;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  unsigned flags = 0;
};

inline std::string request(const sent_request& r) {
  return be32(0x25609513) + be16(r.flags) + be16(static_cast<unsigned>(r.command)) +
         be64(r.cookie) + be64(r.offset) + be32(r.length);
}
/// The same for clients that negotiated extended headers.
inline std::string extended_request(const sent_request& r) {
  return be32(0x21e41c71) + be16(r.flags) + be16(static_cast<unsigned>(r.command)) +
         be64(r.cookie) + be64(r.offset) + be64(r.length);
}
inline std::string read_request(std::uint64_t cookie, std::uint64_t offset, std::uint64_t length) {
  return request({nbd_command::read, cookie, offset, length});
}
inline std::string write_request(std::uint64_t cookie, std::uint64_t offset,
                                 std::string_view payload, unsigned flags = 0) {
  return request({nbd_command::write, cookie, offset, payload.size(), flags}) +
         std::string(payload);
}

inline std::uint64_t number_in(std::string_view bytes, std::size_t position, unsigned size) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i)
    value = value << 8U | static_cast<unsigned char>(bytes.at(position + i));
  return value;
}

inline std::string error_name(std::uint64_t value) {
  static const std::map<std::uint64_t, std::string> names = {
      {0, "ok"},      {1, "EPERM"},      {5, "EIO"},      {12, "ENOMEM"},    {22, "EINVAL"},
      {28, "ENOSPC"}, {75, "EOVERFLOW"}, {95, "ENOTSUP"}, {108, "ESHUTDOWN"}};
  const auto found = names.find(value);
  return found == names.end() ? "error " + std::to_string(value) : found->second;
}

/// Parses replies from a stream: "7 ok", "7 EIO", "7 data 4096" (for simple replies and chunks),
/// "7 done", "7 EINVAL: beyond the end of the export"; "7 part 4096 at 512" for a data chunk that
/// is not the last chunk.
class reply_reader {
 public:
  /// The length of each read, by cookie. Simple replies do not contain the length.
  std::map<std::uint64_t, std::uint64_t> reads;
  /// The data of the last reply that contained data.
  std::string data;
  /// The offset of the last data chunk.
  std::uint64_t offset = 0;
  /// The request's offset in the last chunk with an extended header.
  std::uint64_t request_offset = 0;

  void feed(std::string_view bytes) { stream_ += bytes; }
  /// Returns all complete replies.
  std::vector<std::string> take() {
    std::vector<std::string> out;
    for (auto line = next(); !line.empty(); line = next())
      out.push_back(std::move(line));
    return out;
  }
  [[nodiscard]] std::size_t left() const { return stream_.size(); }

 private:
  std::string next() {
    if (stream_.size() < 4) return {};
    return number_in(stream_, 0, 4) == 0x67446698 ? next_simple() : next_chunk();
  }
  std::string next_simple() {
    if (stream_.size() < 16) return {};
    const auto error = number_in(stream_, 4, 4);
    const auto cookie = number_in(stream_, 8, 8);
    const auto length = error == 0 && reads.contains(cookie) ? reads[cookie] : 0;
    if (stream_.size() < 16 + length) return {};
    auto out = std::to_string(cookie) + ' ';
    if (length == 0) {
      out += error_name(error);
    } else {
      data = stream_.substr(16, length);
      out += "data " + std::to_string(length);
    }
    stream_.erase(0, 16 + length);
    return out;
  }
  std::string next_chunk() {
    if (stream_.size() < 20) return {};
    const bool is_extended = number_in(stream_, 0, 4) == 0x6e8a278cU;
    const std::size_t header = is_extended ? 32 : 20;
    if (stream_.size() < header) return {};
    if (!is_extended) {
      EXPECT_EQ(number_in(stream_, 0, 4), 0x668e33efU) << "not a chunk's magic number";
    }
    const bool is_last = number_in(stream_, 4, 2) == 1;
    const auto length = is_extended ? number_in(stream_, 24, 8) : number_in(stream_, 16, 4);
    if (stream_.size() < header + length) return {};
    if (is_extended) request_offset = number_in(stream_, 16, 8);
    const auto type = number_in(stream_, 6, 2);
    const auto body = stream_.substr(header, length);
    auto out = std::to_string(number_in(stream_, 8, 8)) + ' ';
    stream_.erase(0, header + length);
    EXPECT_TRUE(is_last || type == 1) << "a chunk of type " << type << " is not the last";
    if (type == 0) return out + "done";
    if (type == 1) {
      offset = number_in(body, 0, 8);
      data = body.substr(8);
      if (!is_last)
        return out + "part " + std::to_string(data.size()) + " at " + std::to_string(offset);
      return out + "data " + std::to_string(data.size());
    }
    EXPECT_EQ(type, 0x8001U);
    const auto text = body.substr(6);
    return out + error_name(number_in(body, 0, 4)) + (text.empty() ? "" : ": " + text);
  }

  std::string stream_;
};

/// Returns bytes that depend on their position, so that all pages differ.
inline std::string pattern(std::size_t size, unsigned seed = 1) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    out[i] = static_cast<char>((i * 7 + (i >> 12U) * 13 + seed * 101) % 251);
  return out;
}

}  // namespace xenpv::nbd::test
