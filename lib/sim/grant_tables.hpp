// Grants of all simulated domains: pages shared through the gntalloc driver, pages mapped through
// the gntdev driver, and the hypervisor's grant table. Used only on the host thread, except for the
// grant table, which is in the shared state so that processes can copy grants without the host.
//
// A domain's pages are in a memfd that the domain's peers map. A page that is unshared while mapped
// keeps its contents and is freed by the last unmap.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/parse.hpp"
#include "sim/event_channels.hpp"
#include "sim/shared_state.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// The driver's UNMAP_NOTIFY: a byte to clear and a port to notify when a grant or
/// a mapping is released. The offset is in bytes from the start of the grant or mapping.
struct grant_notice {
  std::optional<std::uint32_t> clear_offset;
  std::optional<std::uint32_t> port;
};

class grant_tables {
 public:
  struct shared_page {
    std::uint32_t page = 0;
    std::uint32_t ref = 0;
  };
  struct mapped_page {
    std::uint8_t slot = 0;
    std::uint32_t page = 0;
  };
  struct foreign_grant {
    domid domain;
    std::uint32_t ref = 0;
  };
  using share_id = std::uint32_t;
  using map_id = std::uint32_t;

  grant_tables(shared_state& state, event_channels& events);

  void start_domain(std::uint8_t slot);
  /// Unshares all pages of the domain. Pages mapped by peers stay mapped.
  void stop_domain(std::uint8_t slot);
  /// Simulates a save and restore: clears the grant table. The driver still counts the pages until
  /// they are unshared.
  void resume_domain(std::uint8_t slot);

  /// Returns the memfd that contains the pages of the domain in `slot`.
  [[nodiscard]] int memory(std::uint8_t slot) const;

  /// Shares pages. Each page has its own ID; returns the first one, and the others follow it.
  [[nodiscard]] boost::system::result<share_id, std::errc> share(std::uint8_t slot, domid peer,
                                                                 std::uint32_t pages, bool writable,
                                                                 std::uint32_t limit);
  [[nodiscard]] shared_page page(share_id id) const;
  [[nodiscard]] std::errc unshare(share_id id);
  [[nodiscard]] std::errc set_share_notice(share_id id, const grant_notice& notice);

  [[nodiscard]] boost::system::result<map_id, std::errc> map(std::uint8_t slot,
                                                             std::span<const foreign_grant> grants,
                                                             bool writable);
  [[nodiscard]] std::span<const mapped_page> mapping(map_id id) const;
  [[nodiscard]] std::errc unmap(map_id id);
  [[nodiscard]] std::errc set_map_notice(map_id id, const grant_notice& notice);

  /// Sets the fraction of share and map requests that fail.
  void set_refusal(ratio refuse) { refuse_ = refuse; }

  [[nodiscard]] std::size_t shared_page_count(std::uint8_t slot) const;
  [[nodiscard]] std::size_t mapped_page_count(std::uint8_t slot) const;

 private:
  struct share_record {
    std::uint8_t slot = 0;
    std::uint32_t generation = 0;
    shared_page page;
    grant_notice notice;
  };
  struct map_record {
    std::uint8_t slot = 0;
    std::vector<mapped_page> pages;
    std::vector<std::uint32_t> generations;  ///< the granter's, for each page
    grant_notice notice;
  };
  struct domain_memory {
    unique_fd file;
    std::uint32_t generation = 0;
    std::vector<std::uint32_t> free_pages;
    std::vector<std::uint32_t> free_refs;
    struct page_use {
      std::uint32_t mapped = 0;
      std::uint32_t ref = 0;
      bool shared = false;
    };
    std::vector<page_use> use;
  };

  void free_page(domain_memory& memory, std::uint8_t slot, std::uint32_t page);
  void carry_out(const grant_notice& notice, std::uint8_t slot, int file, std::uint32_t page);
  /// Pins the port of `notice`, unpins the port of `old`, and stores `notice` in `old`.
  [[nodiscard]] std::errc replace_notice(std::uint8_t slot, grant_notice& old,
                                         const grant_notice& notice);
  [[nodiscard]] bool refuses();

  shared_state& state_;
  event_channels& events_;
  std::array<domain_memory, max_domains> memories_;
  std::map<share_id, share_record> shares_;
  std::map<map_id, map_record> maps_;
  std::uint32_t next_id_ = 1;
  ratio refuse_{0, 1};
  std::uint64_t requests_ = 0;
};

}  // namespace xenpv::sim
