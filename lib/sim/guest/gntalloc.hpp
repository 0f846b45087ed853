// The simulated gntalloc driver (Linux: drivers/xen/gntalloc.c). Pages are allocated from the
// domain's memfd, so that peers can map them. A page stays granted until it is deallocated and
// unmapped, or the process exits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "sim/guest/device_file.hpp"

namespace xenpv::sim::guest {

class granted_page;

class gntalloc_file final : public device_file {
 public:
  gntalloc_file();
  ~gntalloc_file() override;

  int ioctl(unsigned long request, void* argument) override;
  [[nodiscard]] void* mmap(void* address, std::size_t size, int protection, int flags,
                           off_t offset) override;

 private:
  int allocate(void* argument);
  int deallocate(void* argument);
  int set_notice(void* argument);

  std::mutex mutex_;
  /// The pages that have not been deallocated, by their offset in the file.
  std::map<std::uint64_t, std::shared_ptr<granted_page>> pages_;
  std::uint64_t next_offset_ = 0;
};

/// Ends the grants of pages whose last reference is gone. Many pages take only one message to the
/// host.
void end_released_grants() noexcept;

}  // namespace xenpv::sim::guest
