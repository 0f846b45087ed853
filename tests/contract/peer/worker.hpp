// A worker process of the peer: owns ports, mappings and shared pages, and executes commands. IDs
// of mappings and shares are valid only in the worker that assigned them. The server delivers
// commands and replies.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "contract/event_handle.hpp"
#include "contract/grants.hpp"
#include "contract/peer/commands.hpp"

namespace xenpv::contract {

/// Exit status of a worker after the command "exit". The supervisor then starts another worker.
inline constexpr int exit_requested = 3;

class peer_worker {
 public:
  explicit peer_worker(std::uint32_t guest);

  /// Executes the command and passes exactly one reply to `publish`. The command "exit" does not
  /// return: the process exits after the reply, and the kernel releases its resources.
  void execute(const peer_command& command, const std::function<void(const peer_reply&)>& publish);

 private:
  using words = std::vector<std::string>;
  using action = words (peer_worker::*)(const words&);
  struct mapping {
    void* memory;
    std::uint32_t count;
  };

  [[nodiscard]] static const std::map<std::string, action>& actions();

  words hello(const words&);
  words bind(const words& command);
  words unbound(const words& command);
  words unbind(const words& command);
  words notify(const words& command);
  words take(const words& command);
  words unmask(const words& command);
  words map(const words& command);
  words map_notify(const words& command);
  words unmap(const words& command);
  words share(const words& command);
  words share_notify(const words& command);
  words unshare(const words& command);
  words read(const words& command);
  words write(const words& command);
  words copy_from(const words& command);
  words copy_to(const words& command);

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
