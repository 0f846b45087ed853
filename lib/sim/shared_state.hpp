// Memory shared by the simulated host and all processes of its domains: event-channel tables, the
// drivers' port sets, grant tables and fault switches.
//
// Only the host, which acts as hypervisor and kernel, changes the bindings. Processes read the
// tables and change the two delivery bits, so notify, delivery and unmask do not involve any other
// process. All mutable state consists of lock-free atomics, so a killed process cannot leave a lock
// held. The memory is never stored on disk: the host and the processes that map this memory are
// built from the same source.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace xenpv::sim {

inline constexpr std::uint32_t shared_magic = 0x78656e32;
inline constexpr std::size_t max_domains = 32;  ///< slots; a restore keeps a domain's slot
inline constexpr std::size_t max_ports = 4096;  ///< per domain: the 64-bit limit of the 2-level ABI
inline constexpr std::size_t max_handles = 1024;  ///< per host: open /dev/xen/evtchn handles
inline constexpr std::size_t max_grants = 32768;  ///< per domain: 64 frames of version 1 entries

/// Xen's EVTCHNSTAT_* values, except that all ports of the guest kernel share one kind.
enum class port_kind : std::uint8_t { closed, unbound, interdomain, virq, kernel };

/// A port's state in the hypervisor, in one word, so that senders read it atomically.
struct port_link {
  port_kind kind = port_kind::closed;
  std::uint8_t remote_slot = 0;
  std::uint32_t remote_port = 0;  ///< unbound: the remote domain; virq: the VIRQ number

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return std::uint64_t{static_cast<std::uint8_t>(kind)} << 56 | std::uint64_t{remote_slot} << 48 |
           remote_port;
  }
  [[nodiscard]] static constexpr port_link unpack(std::uint64_t word) noexcept {
    return {static_cast<port_kind>(word >> 56), static_cast<std::uint8_t>(word >> 48),
            static_cast<std::uint32_t>(word)};
  }
};

/// The handle that receives a port's events, and the port's delivery bits. If `generation` is 0,
/// the port does not belong to a handle, and events are dropped.
struct port_delivery {
  std::uint32_t generation = 0;
  std::uint16_t handle = 0;
  bool masked = false;   ///< delivered and not yet unmasked by the reader
  bool pending = false;  ///< notified again while masked

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return std::uint64_t{generation} << 32 | std::uint64_t{handle} << 16 | (masked ? 1U : 0U) |
           (pending ? 2U : 0U);
  }
  [[nodiscard]] static constexpr port_delivery unpack(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint16_t>(word >> 16),
            (word & 1) != 0, (word & 2) != 0};
  }
};

struct shared_port {
  std::atomic<std::uint64_t> link;
  std::atomic<std::uint64_t> delivery;
};

enum grant_flag : std::uint8_t { grant_in_use = 1, grant_read_only = 2 };

/// A grant-table entry in one word.
struct grant_table_entry {
  std::uint8_t flags = 0;
  std::uint16_t grantee = 0;  ///< ID of the domain that may access the page
  std::uint32_t page = 0;     ///< page index in the memory of the granting domain

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return std::uint64_t{flags} << 56 | std::uint64_t{grantee} << 32 | page;
  }
  [[nodiscard]] static constexpr grant_table_entry unpack(std::uint64_t word) noexcept {
    return {static_cast<std::uint8_t>(word >> 56), static_cast<std::uint16_t>(word >> 32),
            static_cast<std::uint32_t>(word)};
  }
};

struct shared_domain {
  std::atomic<std::uint32_t> generation;  ///< the slot's generation; 0: free
  std::atomic<std::uint32_t> domain;      ///< domain ID; a restore may change it
  std::array<shared_port, max_ports> ports;
  std::array<std::atomic<std::uint64_t>, max_grants> grants;
};

/// State of one open file description in the evtchn driver.
struct shared_handle {
  std::atomic<std::uint32_t> generation;  ///< 0: free
  std::atomic<std::uint32_t> slot;        ///< domain slot
  /// The driver's port tree. As in the kernel, a resume does not clear the tree, which causes the
  /// BUG.
  std::array<std::atomic<std::uint64_t>, max_ports / 64> ports;

  [[nodiscard]] bool has_port(std::uint32_t port) const noexcept {
    return port < max_ports &&
           (ports[port / 64].load(std::memory_order_acquire) >> (port % 64) & 1) != 0;
  }
};

/// Affects the first `part` of every `whole` events, counted across all domains of the host.
/// Disabled if `part` is 0.
struct shared_event_fault {
  std::atomic<std::uint32_t> part;
  std::atomic<std::uint32_t> whole;
  std::atomic<std::uint64_t> seen;
  std::atomic<std::uint64_t> hit;

  /// Counts one event. Returns true if the fault affects it.
  [[nodiscard]] bool strikes() noexcept {
    const auto hits = part.load(std::memory_order_relaxed);
    if (hits == 0) return false;
    const auto n = seen.fetch_add(1, std::memory_order_relaxed);
    if (n % whole.load(std::memory_order_relaxed) >= hits) return false;
    hit.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
};

struct shared_state {
  std::uint32_t magic;
  std::uint32_t size;                  ///< sizeof(shared_state) in the host build
  std::atomic<bool> guest_hypercalls;  ///< guests may use privcmd: see host_options
  shared_event_fault lose;
  shared_event_fault duplicate;
  shared_event_fault delay;
  std::array<shared_handle, max_handles> handles;
  std::array<shared_domain, max_domains> domains;
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(sizeof(shared_port) == 16);

}  // namespace xenpv::sim
