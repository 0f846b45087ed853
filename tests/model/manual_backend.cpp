#include "model/manual_backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace xenpv::model {
namespace {

wire::blkif_op operation_of(const wire::blkif_request& request) {
  return wire::blkif_op{request.operation};
}

bool has_data(const wire::blkif_request& request) {
  const auto op = operation_of(request);
  return op == wire::blkif_op::read || op == wire::blkif_op::write;
}

}  // namespace

std::span<std::byte> manual_backend::bytes_of(const wire::blkif_segment& segment) const {
  const auto first = std::size_t{segment.gref} * page_size + std::size_t{segment.first_sect} * 512;
  const auto count = std::size_t{segment.last_sect} - segment.first_sect + 1;
  return pages_.subspan(first, count * 512);
}

std::vector<std::byte> manual_backend::payload_of(const wire::blkif_request& request) const {
  std::vector<std::byte> out;
  for (unsigned i = 0; i < request.nr_segments; ++i) {
    const auto bytes = bytes_of(request.seg[i]);
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  return out;
}

void manual_backend::check_pages(const wire::blkif_request& request) {
  if (!has_data(request)) return;
  for (const auto& other : requests_) {
    if (!has_data(other.request)) continue;
    for (unsigned i = 0; i < request.nr_segments; ++i)
      for (unsigned j = 0; j < other.request.nr_segments; ++j)
        if (request.seg[i].gref == other.request.seg[j].gref)
          violation_ = fmt::format("two unanswered requests use page {}", request.seg[i].gref);
  }
}

void manual_backend::take() {
  const auto count = ring_.available().value_or(0);
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto request = ring_.take();
    check_pages(request);
    pending entry{request, {}, false};
    if (operation_of(request) == wire::blkif_op::write) entry.payload = payload_of(request);
    requests_.push_back(std::move(entry));
  }
}

void manual_backend::carry_out(std::size_t n) {
  auto& entry = requests_[n];
  if (std::exchange(entry.carried_out, true)) return;
  const auto at = entry.request.sector_number * 512;
  switch (operation_of(entry.request)) {
    case wire::blkif_op::read:
      for (unsigned i = 0, offset = 0; i < entry.request.nr_segments; ++i) {
        const auto bytes = bytes_of(entry.request.seg[i]);
        std::memcpy(bytes.data(), disk_->cache.data() + at + offset, bytes.size());
        offset += static_cast<unsigned>(bytes.size());
      }
      return;
    case wire::blkif_op::write: {
      const auto now = payload_of(entry.request);
      if (now != entry.payload) violation_ = "a page changed during its request";
      std::memcpy(disk_->cache.data() + at, now.data(), now.size());
      return;
    }
    case wire::blkif_op::write_barrier:
    case wire::blkif_op::flush_diskcache:
      return disk_->flush();
    case wire::blkif_op::discard: {
      wire::blkif_discard_request discard;
      std::memcpy(&discard, &entry.request, sizeof discard);
      std::fill_n(disk_->cache.begin() + static_cast<std::ptrdiff_t>(at), discard.nr_sectors * 512,
                  std::byte{0});
      return;
    }
    case wire::blkif_op::indirect:
      violation_ = "an operation that was not offered";
      return;
  }
}

void manual_backend::respond(std::size_t n, std::int16_t status) {
  const auto& request = requests_[n].request;
  wire::blkif_response response{};
  response.id = request.id;
  response.operation = request.operation;
  response.status = status;
  requests_.erase(requests_.begin() + static_cast<std::ptrdiff_t>(n));
  ring_.put(response);
  (void)ring_.publish();
}

void manual_backend::lie() {
  wire::blkif_response response{};
  response.id = 0xDEAD0000;
  ring_.put(response);
  (void)ring_.publish();
}

}  // namespace xenpv::model
