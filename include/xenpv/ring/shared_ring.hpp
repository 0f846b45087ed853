// The part of a shared ring (xen/io/ring.h) that both ends have in common: the ring size, the four
// indices, which another domain can write at any time, and access to the entries by copying.
//
// All atomic accesses to the shared memory are in this class and in the two ring ends. Each end has
// its own object and uses it on one thread.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace xenpv::ring {

/// The header of every Xen I/O ring: struct xxx_sring of DEFINE_RING_TYPES without its entries. The
/// indices wrap at 2^32.
struct ring_header {
  std::uint32_t req_prod;   ///< number of requests published by the frontend
  std::uint32_t req_event;  ///< set by the backend: send an event when req_prod reaches this
  std::uint32_t rsp_prod;   ///< number of responses published by the backend
  std::uint32_t rsp_event;  ///< set by the frontend: send an event when rsp_prod reaches this
  std::uint8_t pad[48];
};
static_assert(sizeof(ring_header) == 64);
static_assert(offsetof(ring_header, req_prod) == 0);
static_assert(offsetof(ring_header, req_event) == 4);
static_assert(offsetof(ring_header, rsp_prod) == 8);
static_assert(offsetof(ring_header, rsp_event) == 12);
static_assert(offsetof(ring_header, pad) == 16);
static_assert(std::is_trivially_copyable_v<ring_header>);

/// Returns the number of `stride`-byte entries in a ring of `bytes` bytes: the largest power of two
/// that fits (__RING_SIZE), or 0 if not even one entry fits.
[[nodiscard]] constexpr std::uint32_t entries_in(std::size_t bytes, std::size_t stride) noexcept {
  if (bytes < sizeof(ring_header) + stride) return 0;
  return static_cast<std::uint32_t>(std::bit_floor((bytes - sizeof(ring_header)) / stride));
}

/// Returns true if an index that moves from `before` to `after` reaches or passes `event`, which is
/// the condition in ring.h for sending a notification. Indices wrap, so this compares only
/// differences.
[[nodiscard]] constexpr bool passes(std::uint32_t before, std::uint32_t after,
                                    std::uint32_t event) noexcept {
  return after - event < after - before;
}

/// A view of a ring's memory. `Stride` is the entry size in bytes, which is the size of a request
/// or of a response, whichever is larger.
template <std::size_t Stride>
class shared_ring {
 public:
  /// `memory` consists of whole, virtually contiguous pages and must outlive the view.
  explicit shared_ring(std::span<std::byte> memory) noexcept
      : header_(reinterpret_cast<ring_header*>(memory.data())),
        entries_(memory.data() + sizeof(ring_header)),
        size_(entries_in(memory.size(), Stride)) {}

  /// The number of entries; a power of two, or 0 if `memory` is too small.
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  /// The indices in shared memory. Access them with load() and store() only, except before the peer
  /// has access to the ring.
  [[nodiscard]] ring_header& header() const noexcept { return *header_; }

  /// Reads an index that the peer writes, with acquire order: its entries are then visible.
  [[nodiscard]] static std::uint32_t load(std::uint32_t& index) noexcept {
    return std::atomic_ref(index).load(std::memory_order_acquire);
  }
  /// Writes an index that the peer reads, with release order: its entries are then visible.
  static void store(std::uint32_t& index, std::uint32_t value) noexcept {
    std::atomic_ref(index).store(value, std::memory_order_release);
  }
  /// The mb() of ring.h: call it after writing this end's index and before reading the peer's event
  /// index. Each end writes one index and then reads the one that the peer writes; without the
  /// barrier, each end could miss the peer's write. A barrier between CPUs also works between
  /// domains: virt_mb() in Linux is the same as smp_mb(), which is "dmb ish" on ARM64, as here.
  static void full_barrier() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }

  /// Copies the entry once, so that the peer cannot change it after a check.
  template <class Entry>
  [[nodiscard]] Entry copy_out(std::uint32_t index) const noexcept {
    static_assert(std::is_trivially_copyable_v<Entry> && sizeof(Entry) <= Stride);
    Entry entry;
    std::memcpy(&entry, at(index), sizeof entry);
    // The barrier() of RING_COPY_REQUEST: the compiler must not read the shared bytes a second
    // time.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return entry;
  }
  /// Copies the first `bytes` bytes of the entry into the ring and leaves the rest of the slot
  /// unchanged.
  template <class Entry>
  void copy_in(std::uint32_t index, const Entry& entry, std::size_t bytes) noexcept {
    static_assert(std::is_trivially_copyable_v<Entry> && sizeof(Entry) <= Stride);
    std::memcpy(at(index), &entry, bytes);
  }

 private:
  [[nodiscard]] std::byte* at(std::uint32_t index) const noexcept {
    return entries_ + Stride * (index & (size_ - 1));
  }

  ring_header* header_;
  std::byte* entries_;
  std::uint32_t size_;
};

}  // namespace xenpv::ring
