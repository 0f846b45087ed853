// Messages between the processes of a simulated domain and the host. They replace ioctl(2) and
// mmap(2) on /dev/xen/* in the slow path (open, bind, share, map). Each request and each reply is
// one SEQPACKET message. Both ends are built from the same source; the magic number in `hello`
// detects a mismatch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace xenpv::sim {

enum class control_op : std::uint32_t {
  hello,             ///< a = shared_magic, b = process that the connection acts for, 0: the caller
                     ///<                             -> fd shared state; a = slot
  evtchn_open,       ///<                             -> fd read end; a = handle (index << 32 |
                     ///<                             generation)
  evtchn_adopt,      ///< a = inode of the descriptor -> a = handle
  evtchn_closed,     ///< a = handle: a reference was closed
  evtchn_waker,      ///< a = handle                  -> fd write end
  bind_unbound,      ///< a = handle, b = domain      -> a = port
  bind_interdomain,  ///< a = handle, b = domain, c = remote port -> a = port
  bind_virq,         ///< a = handle, b = virq        -> a = port
  unbind,            ///< a = handle, b = port
  restrict_domid,    ///< a = handle, b = domain
  delayed_event,     ///< a = port: the delay fault applies to this event
  share,    ///< a = domain, b = writable, c = pages -> a = first of consecutive share ids, words =
            ///< page, ref, ...
  unshare,  ///< words = share id, ...
  share_notice,   ///< a = share id, b = offset or -1, c = port or -1
  memory,         ///< a = slot                    -> fd memory
  map,            ///< a = writable, words = domain, ref, ... -> a = map id, words = slot, page, ...
  unmap,          ///< a = map id
  map_notice,     ///< a = map id, b = offset or -1, c = port or -1
  not_simulated,  ///< a = call_kind, b = number, c = subcommand: the host logs each kind once
};

/// The type of a call that the simulator does not answer.
enum class call_kind : std::uint64_t { hypercall, privcmd_ioctl };

inline constexpr std::uint64_t no_notice = ~std::uint64_t{0};

/// Maximum number of words in a message. A page takes two words, so share and map are limited to
/// half as many pages.
inline constexpr std::size_t control_words_max = 16384;

struct control_request {
  control_op op;
  std::uint32_t count;  ///< number of words that follow
  std::uint64_t a, b, c;
};
static_assert(sizeof(control_request) == 32 && std::is_trivially_copyable_v<control_request>);

struct control_reply {
  std::int32_t error;  ///< errno; 0: success
  std::uint32_t count;
  std::uint64_t a;
};
static_assert(sizeof(control_reply) == 16 && std::is_trivially_copyable_v<control_reply>);

}  // namespace xenpv::sim
