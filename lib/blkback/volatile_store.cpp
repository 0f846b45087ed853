#include "blkback/volatile_store.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace xenpv::blkback {
namespace {

struct plain_request : store_request {
  int error = 0;
};

/// Splits the pieces at sector boundaries and calls `use(bytes, position)` for each part.
template <class Function>
void for_each_part(const store_request& request, std::uint32_t sector_size, Function use) {
  auto position = request.offset;
  for (const auto& piece : request.pieces) {
    auto* at = static_cast<std::byte*>(piece.iov_base);
    for (auto left = piece.iov_len; left > 0;) {
      const auto part = std::min<std::size_t>(left, sector_size - position % sector_size);
      use(std::span(at, part), position);
      at += part;
      position += part;
      left -= part;
    }
  }
}

}  // namespace

int volatile_store::on_platter(store_op op, std::uint64_t offset, std::uint64_t length,
                               std::span<const iovec> pieces) {
  plain_request request;
  request.op = op;
  request.offset = offset;
  request.length = length;
  request.pieces = pieces;
  request.done = [](store_request& done, int error) noexcept {
    static_cast<plain_request&>(done).error = error;
  };
  platter_.submit(request);
  return request.error;
}

void volatile_store::submit(store_request& request) noexcept {
  int error = 0;
  switch (request.op) {
    case store_op::read:
      error = read(request);
      break;
    case store_op::write:
      write(request);
      break;
    case store_op::flush:
      error = flush();
      break;
    case store_op::discard:
    case store_op::secure_discard:
      error = discard(request);
      break;
  }
  request.done(request, error);
}

int volatile_store::read(const store_request& request) {
  const int error = on_platter(store_op::read, request.offset, request.length, request.pieces);
  for_each_part(request, sector_size_, [&](std::span<std::byte> part, std::uint64_t position) {
    const auto cached = cache_.find(position / sector_size_);
    if (cached == cache_.end()) return;
    std::memcpy(part.data(), cached->second.back().data() + position % sector_size_, part.size());
  });
  return error;
}

void volatile_store::write(const store_request& request) {
  // Writes cover whole sectors. Begin a new version only at the first byte of a sector, because two
  // pieces may share a sector.
  for_each_part(request, sector_size_, [&](std::span<std::byte> part, std::uint64_t position) {
    auto& versions = cache_[position / sector_size_];
    if (position % sector_size_ == 0) versions.emplace_back(sector_size_);
    std::memcpy(versions.back().data() + position % sector_size_, part.data(), part.size());
  });
}

int volatile_store::flush() {
  int first_error = 0;
  for (auto& [sector, versions] : cache_) {
    const iovec piece{versions.back().data(), sector_size_};
    const int error = on_platter(store_op::write, sector * sector_size_, sector_size_, {&piece, 1});
    if (first_error == 0) first_error = error;
  }
  if (first_error == 0) first_error = on_platter(store_op::flush, 0, 0, {});
  if (first_error == 0) cache_.clear();
  return first_error;
}

int volatile_store::discard(const store_request& request) {
  cache_.erase(cache_.lower_bound(request.offset / sector_size_),
               cache_.lower_bound((request.offset + request.length) / sector_size_));
  return on_platter(request.op, request.offset, request.length, {});
}

void volatile_store::power_cut(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (auto& [sector, versions] : cache_) {
    const auto survivor = random() % (versions.size() + 1);
    if (survivor == versions.size()) continue;
    const iovec piece{versions[survivor].data(), sector_size_};
    (void)on_platter(store_op::write, sector * sector_size_, sector_size_, {&piece, 1});
  }
  cache_.clear();
}

}  // namespace xenpv::blkback
