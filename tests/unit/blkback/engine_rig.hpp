// A backend engine and a frontend that the test drives by hand, on one ring and one thread.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "blkback/engine.hpp"
#include "blkback/memory_store.hpp"
#include "blkback/page_array.hpp"
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::blkback::test {

using wire::blkif_op;
using wire::blkif_status;

/// Grant reference of the rig's first page.
inline constexpr std::uint32_t first_ref = 100;
inline constexpr std::uint64_t disk_size = 1 << 20;

inline disk_config usual(backend_kind kind) {
  return usual_config(personality_of(kind), disk_size);
}

/// A store that executes a request only on demand.
class late_store final : public store {
 public:
  explicit late_store(store& behind) : behind_(behind) {}
  void submit(store_request& request) noexcept override { waiting.push_back(&request); }
  void do_next() {
    auto* next = waiting.front();
    waiting.erase(waiting.begin());
    behind_.submit(*next);
  }
  void do_last() {
    auto* last = waiting.back();
    waiting.pop_back();
    behind_.submit(*last);
  }
  std::vector<store_request*> waiting;

 private:
  store& behind_;
};

/// A store that fails every request with `error`.
struct failing_store final : store {
  explicit failing_store(int code) : error(code) {}
  void submit(store_request& request) noexcept override { request.done(request, error); }
  int error;
};

struct engine_rig {
  explicit engine_rig(disk_config config = usual(backend_kind::linux_blkback),
                      bool persistent = false, store* other = nullptr, unsigned order = 0)
      : ring_memory(page_size << order),
        front(ring_memory),
        backend(std::make_unique<engine>(std::span(ring_memory), pages, other ? *other : memory,
                                         engine_options{config, persistent})) {}

  static wire::blkif_request transfer(blkif_op op, std::uint64_t id, std::uint64_t sector,
                                      std::vector<wire::blkif_segment> segments) {
    wire::blkif_request out{};
    out.operation = static_cast<std::uint8_t>(op);
    out.nr_segments = static_cast<std::uint8_t>(segments.size());
    out.id = id;
    out.sector_number = sector;
    std::copy_n(segments.begin(), std::min<std::size_t>(segments.size(), 11), out.seg);
    return out;
  }
  static wire::blkif_discard_request discard(std::uint64_t id, std::uint64_t sector,
                                             std::uint64_t count, std::uint8_t flag = 0) {
    wire::blkif_discard_request out{};
    out.operation = static_cast<std::uint8_t>(blkif_op::discard);
    out.flag = flag;
    out.id = id;
    out.sector_number = sector;
    out.nr_sectors = count;
    return out;
  }
  /// Writes the segments to the page `table`.
  wire::blkif_indirect_request indirect(blkif_op op, std::uint64_t id, std::uint64_t sector,
                                        const std::vector<wire::blkif_segment>& segments,
                                        std::uint32_t table) {
    wire::blkif_indirect_request out{};
    out.operation = static_cast<std::uint8_t>(blkif_op::indirect);
    out.indirect_op = static_cast<std::uint8_t>(op);
    out.nr_segments = static_cast<std::uint16_t>(segments.size());
    out.id = id;
    out.sector_number = sector;
    out.indirect_grefs[0] = table;
    std::memcpy(pages.page(table), segments.data(), segments.size() * sizeof segments[0]);
    return out;
  }

  template <class Request>
  void put(const Request& request) {
    front.put(request);
    (void)front.publish();
  }
  std::vector<wire::blkif_response> responses() {
    std::vector<wire::blkif_response> out;
    for (auto count = front.available().value_or(0); count > 0; --count)
      out.push_back(front.take());
    return out;
  }
  /// Executes one request. Returns its response, or an invalid one unless there is exactly one.
  template <class Request>
  wire::blkif_response answer_to(const Request& request) {
    put(request);
    (void)backend->run();
    const auto all = responses();
    return all.size() == 1 ? all.front() : wire::blkif_response{~0ULL, 0xFF, 0, 99, 0};
  }
  template <class Request>
  blkif_status status_of(const Request& request) {
    return static_cast<blkif_status>(answer_to(request).status);
  }
  void fill(std::uint32_t ref, int value) { std::memset(pages.page(ref), value, page_size); }
  [[nodiscard]] int byte_of(std::uint32_t ref, std::size_t at = 0) const {
    return std::to_integer<int>(pages.page(ref)[at]);
  }

  std::vector<std::byte> ring_memory;
  std::vector<std::byte> page_memory = std::vector<std::byte>(600 * page_size);
  page_array pages{page_memory, first_ref};
  std::shared_ptr<memory_medium> medium = std::make_shared<memory_medium>(disk_size);
  memory_store memory{medium};
  ring::blkif_front_ring front;
  std::unique_ptr<engine> backend;
};

/// Returns a segment that covers the whole page.
inline wire::blkif_segment page(std::uint32_t ref) {
  return {ref, 0, 7, 0};
}

/// Grant reference of the frontend's first page.
inline constexpr auto a = first_ref;

}  // namespace xenpv::blkback::test
