#include "sim/store_request.hpp"

#include <cstdlib>
#include <cstring>

namespace xenpv::sim {

std::optional<std::string_view> sole_string(std::string_view payload) {
  if (payload.empty() || payload.find('\0') != payload.size() - 1) return std::nullopt;
  return payload.substr(0, payload.size() - 1);
}

std::vector<std::string_view> terminated_strings(std::string_view payload) {
  std::vector<std::string_view> strings;
  for (;;) {
    const auto end = payload.find('\0');
    if (end == std::string_view::npos) return strings;
    strings.push_back(payload.substr(0, end));
    payload.remove_prefix(end + 1);
  }
}

std::uint32_t lenient_number(std::string_view text) {
  return static_cast<std::uint32_t>(std::strtol(std::string(text).c_str(), nullptr, 10));
}

void store_request_reader::append(std::span<const std::byte> bytes) {
  if (broken_) return;
  // Drop consumed bytes only here, so that many small requests in one buffer need only one move.
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(consumed_));
  consumed_ = 0;
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

std::optional<store_request> store_request_reader::next() {
  store_request request{};
  const auto available = bytes_.size() - consumed_;
  if (broken_ || available < sizeof request.header) return std::nullopt;
  const auto* const at = bytes_.data() + consumed_;
  std::memcpy(&request.header, at, sizeof request.header);
  if (request.header.len > wire::xs_payload_max) {
    broken_ = true;
    return std::nullopt;
  }
  if (available - sizeof request.header < request.header.len) return std::nullopt;
  request.payload.resize(request.header.len);
  std::memcpy(request.payload.data(), at + sizeof request.header, request.header.len);
  consumed_ += sizeof request.header + request.header.len;
  return request;
}

}  // namespace xenpv::sim
