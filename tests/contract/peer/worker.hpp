// A worker process of the peer: owns ports, mappings and shared pages, and executes orders. IDs of
// mappings and shares are valid only in the worker that assigned them. The server delivers orders
// and replies.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "contract/event_handle.hpp"
#include "contract/grants.hpp"
#include "contract/peer/orders.hpp"

namespace xenpv::contract {

/// Exit status of a worker that was ordered to exit. The supervisor then starts another worker.
inline constexpr int died_as_ordered = 3;

class peer_worker {
 public:
  explicit peer_worker(std::uint32_t guest);

  /// Executes the order and passes exactly one reply to `publish`. The order "die" does not return:
  /// the process exits after the reply, and the kernel releases its resources.
  void follow(const peer_order& order, const std::function<void(const peer_reply&)>& publish);

 private:
  using words = std::vector<std::string>;
  using action = words (peer_worker::*)(const words&);
  struct mapping {
    void* memory;
    std::uint32_t count;
  };

  [[nodiscard]] static const std::map<std::string, action>& actions();

  words hello(const words&);
  words bind(const words& order);
  words unbound(const words& order);
  words unbind(const words& order);
  words notify(const words& order);
  words take(const words& order);
  words unmask(const words& order);
  words map(const words& order);
  words map_notify(const words& order);
  words unmap(const words& order);
  words share(const words& order);
  words share_notify(const words& order);
  words unshare(const words& order);
  words read(const words& order);
  words write(const words& order);
  words copy_from(const words& order);
  words copy_to(const words& order);

  words remember(mapping entry);
  [[nodiscard]] unsigned char* place(const std::string& id, const std::string& offset,
                                     std::size_t length) const;
  words copy(xengnttab_grant_copy_segment_t& segment);

  std::uint32_t guest_;
  event_handle events_;
  mapper mapper_ = open_mapper();
  sharer sharer_ = open_sharer();
  /// Ports that became pending while take() was waiting for a different port.
  std::multiset<std::uint32_t> set_aside_;
  std::map<std::uint32_t, mapping> mappings_;
  std::map<std::uint32_t, shared_pages> shares_;
  std::uint32_t next_id_ = 1;
};

}  // namespace xenpv::contract
