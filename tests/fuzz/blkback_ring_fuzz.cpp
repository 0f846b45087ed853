// Untrusted requests to the backend's ring engine: the engine must answer each request once, with
// the request's ID and a valid status, must not access anything outside the disk, and must not
// leave a grant mapped.
//
// The input configures the disk and then lists steps, each starting with an opcode byte:
// well-formed or malformed requests, writes to their pages, a slow store, faults, a bogus request
// index.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "blkback/engine.hpp"
#include "blkback/memory_store.hpp"
#include "blkback/page_array.hpp"

namespace {

using namespace xenpv;
using namespace xenpv::blkback;

constexpr std::uint64_t disk_size = 256 * 1024;
constexpr std::uint32_t first_ref = 8;
constexpr std::uint32_t page_count = 40;

void require(bool promise) {
  if (!promise) std::abort();
}

class input {
 public:
  explicit input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    std::uint8_t value = 0;
    take(&value, 1);
    return value;
  }
  /// Copies the next `size` bytes of the input; fills with zeros after the end.
  void take(void* destination, std::size_t size) {
    const auto part = bytes_.first(std::min(size, bytes_.size()));
    std::memset(destination, 0, size);
    if (!part.empty()) std::memcpy(destination, part.data(), part.size());
    bytes_ = bytes_.subspan(part.size());
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

/// Checks that the engine meets the contract of store.hpp. Delays requests when the input says so.
class checked_store final : public store {
 public:
  checked_store(store& behind, std::uint32_t sector) : behind_(behind), sector_(sector) {}

  void submit(store_request& request) noexcept override {
    require(request.offset <= disk_size && request.length <= disk_size - request.offset);
    if (request.op == store_op::read || request.op == store_op::write) {
      std::uint64_t bytes = 0;
      for (const auto& piece : request.pieces)
        bytes += piece.iov_len;
      require(bytes == request.length && bytes % sector_ == 0);
      require(bytes == 0 || request.offset % sector_ == 0);
    }
    if (is_late)
      waiting.push_back(&request);
    else
      behind_.submit(request);
  }
  void finish(std::size_t which) {
    auto* const request = waiting[which % waiting.size()];
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(which % waiting.size()));
    behind_.submit(*request);
  }

  bool is_late = false;
  std::deque<store_request*> waiting;

 private:
  store& behind_;
  std::uint32_t sector_;
};

disk_config pick_disk(std::uint8_t choice) {
  const unsigned number = (choice & 3U) + 4U * (choice / 32U);
  const auto& kind = wire::backend_kinds[number % wire::backend_kinds.size()];
  auto disk = usual_config(personality_of(kind.value), disk_size);
  if ((choice & 4) != 0) disk.sector_size = 4096;
  disk.read_only = (choice & 8) != 0;
  return disk;
}

class session {
 public:
  session(std::uint8_t choice, std::uint8_t more)
      : config_(pick_disk(choice)),
        store_(memory_, config_.sector_size),
        engine_(std::make_unique<engine>(ring_, pages_, store_,
                                         engine_options{config_, (choice & 16) != 0})) {
    for (std::uint32_t i = 0; i < page_count; ++i)
      pages_.set_read_only(first_ref + i, (more >> (i % 8) & 1) != 0 && i % 3 == 0);
  }

  void step(input& source) {
    switch (source.byte() % 9) {
      case 0:
        put_raw(source);
        break;
      case 1:
        put_transfer(source);
        break;
      case 2:
        put_indirect(source);
        break;
      case 3:
        (void)engine_->run(source.byte());
        break;
      case 4:
        store_.is_late = source.byte() % 2 != 0;
        break;
      case 5:
        if (!store_.waiting.empty()) store_.finish(source.byte());
        break;
      case 6:
        source.take(pages_.page(first_ref + source.byte() % page_count), 64);
        break;
      case 7:
        set_faults(source.byte());
        break;
      default:
        if (source.byte() == 0xEE) lie(source.byte());
        break;
    }
    take_responses();
  }

  void finish() {
    engine_->set_faults({});
    store_.is_late = false;
    // Several rounds are necessary, because a barrier waits for earlier requests.
    for (int round = 0; round < 100 && (round < 2 || engine_->in_store() != 0); ++round) {
      while (!store_.waiting.empty())
        store_.finish(0);
      (void)engine_->run();
      (void)engine_->release(engine_->held());
      take_responses();
    }
    require(engine_->in_store() == 0);
    require(lied_ || in_flight_.empty());
    engine_.reset();
    require(pages_.mappings() == 0);
  }

 private:
  template <class Request>
  void put(Request request) {
    if (front_.free() == 0) return;
    request.id = next_id_++;
    in_flight_.insert(request.id);
    front_.put(request);
    (void)front_.publish();
  }
  void put_raw(input& source) {
    wire::blkif_request request{};
    source.take(&request, sizeof request);
    put(request);
  }
  wire::blkif_segment segment(input& source) {
    const auto choice = source.byte();
    const auto first = static_cast<std::uint8_t>(choice % 8);
    const auto last = static_cast<std::uint8_t>(std::max(first + 0, choice / 8 % 9));
    return {first_ref + source.byte() % (page_count + 1), first, last, 0};
  }
  void put_transfer(input& source) {
    wire::blkif_request request{};
    request.operation = source.byte() % 4;
    request.nr_segments = source.byte() % 13;
    request.sector_number = source.byte() * 8U;
    for (auto& entry : request.seg)
      entry = segment(source);
    put(request);
  }
  void put_indirect(input& source) {
    wire::blkif_indirect_request request{};
    request.operation = static_cast<std::uint8_t>(wire::blkif_op::indirect);
    request.indirect_op = source.byte() % 3;
    request.nr_segments = source.byte() % 32;
    request.sector_number = source.byte() * 8U;
    request.indirect_grefs[0] = first_ref + source.byte() % page_count;
    auto* table = pages_.page(request.indirect_grefs[0]);
    for (std::uint16_t i = 0; i < request.nr_segments; ++i) {
      const auto entry = segment(source);
      std::memcpy(table + i * sizeof entry, &entry, sizeof entry);
    }
    put(request);
  }
  void set_faults(std::uint8_t choice) {
    disk_faults faults;
    faults.error_every = choice % 3;
    faults.reorder = (choice & 4) != 0;
    faults.refuse_indirect = (choice & 8) != 0;
    faults.refuse_flush = (choice & 16) != 0;
    if ((choice & 32) != 0) faults.stall_after = choice % 5;
    faults.delayed = {(choice & 64) != 0 ? 1U : 0U, 2};
    engine_->set_faults(faults);
  }
  void lie(std::uint8_t by) {
    reinterpret_cast<ring::ring_header*>(ring_.data())->req_prod += by;
    lied_ = lied_ || by != 0;
  }
  void take_responses() {
    const auto count = front_.available();
    // After a bogus index, the backend answers requests that were never added.
    require(lied_ || count.has_value());
    for (auto left = count.value_or(0); left > 0; --left) {
      const auto response = front_.take();
      if (lied_) continue;
      require(in_flight_.erase(response.id) == 1);
      require(response.status <= 0 && response.status >= -2);
    }
  }

  disk_config config_;
  std::vector<std::byte> ring_ = std::vector<std::byte>(page_size);
  std::vector<std::byte> granted_ = std::vector<std::byte>(std::size_t{page_count} * page_size);
  page_array pages_{granted_, first_ref};
  std::shared_ptr<memory_medium> medium_ = std::make_shared<memory_medium>(disk_size);
  memory_store memory_{medium_};
  checked_store store_;
  ring::blkif_front_ring front_{ring_};
  std::unique_ptr<engine> engine_;
  std::uint64_t next_id_ = 1;
  std::set<std::uint64_t> in_flight_;
  bool lied_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input source({data, size});
  const auto choice = source.byte();
  session one(choice, source.byte());
  while (!source.is_empty())
    one.step(source);
  one.finish();
  return 0;
}
