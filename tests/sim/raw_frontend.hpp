// A minimal block frontend for backend tests: the test itself writes the xenstore nodes, submits
// requests and waits for responses. Throws when a wait times out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "xenpv/ring/blkif_ring.hpp"
#include "xenpv/wire/xenbus.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/grant_share.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim {

class raw_frontend {
 public:
  /// `device`: virtual device number.
  explicit raw_frontend(unsigned device);

  [[nodiscard]] std::optional<std::string> backend_node(const std::string& name) const;
  /// Returns the named nodes that exist, as "name=value".
  [[nodiscard]] std::vector<std::string> backend_nodes(const std::vector<std::string>& names) const;
  /// Waits until the backend enters one of `states`, and returns that state.
  wire::xenbus_state await(std::vector<wire::xenbus_state> states);
  void await_node(const std::string& name, const std::string& value);
  void set_state(wire::xenbus_state state);
  void write(const std::string& name, const std::string& value);

  /// Shares rings and writes their xenstore keys, but not the state.
  void offer(unsigned queues, unsigned order, bool persistent = false);
  /// Performs the whole connect: InitWait, offer, Initialised, Connected at both ends.
  void connect(unsigned queues = 1, unsigned order = 0, bool persistent = false);
  /// Closes both ends (Closing, Closed) and drops the rings.
  void close();

  /// A data page granted to the backend, and the page's grant reference.
  [[nodiscard]] std::byte* page(std::size_t index) const;
  [[nodiscard]] std::uint32_t ref(std::size_t index) const;

  void put(const wire::blkif_request& request, std::size_t queue = 0);
  [[nodiscard]] wire::blkif_response await_response(std::size_t queue = 0);
  /// Transfers one page at `sector`; returns the status.
  [[nodiscard]] int transfer(wire::blkif_op op, std::uint64_t sector, std::size_t index,
                             std::size_t queue = 0, std::uint8_t last_sect = 7);
  /// Advances req_prod by `count` without adding requests, and notifies the backend.
  void corrupt_request_index(std::uint32_t count);
  [[nodiscard]] int flush(wire::blkif_op op = wire::blkif_op::flush_diskcache);

 private:
  struct ring_end {
    explicit ring_end(xen::granted_pages shared, port channel)
        : pages(std::move(shared)), ring(pages.bytes()), local(channel) {}
    xen::granted_pages pages;
    ring::blkif_front_ring ring;
    port local;
  };
  void wait_for_store();

  xen::store store_;
  xen::event_channel_handle events_;
  xen::grant_sharer sharer_;
  std::string front_;
  std::string back_;
  xen::granted_pages data_;
  std::vector<std::unique_ptr<ring_end>> queues_;
  std::uint64_t next_id_ = 1;
};

}  // namespace xenpv::sim
