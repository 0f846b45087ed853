// The simulated gntdev driver (Linux: drivers/xen/gntdev.c). Foreign pages are mapped from the
// granting domain's memfd. Pages are granted to this domain from mmap(2) until they are unmapped
// and their map is removed, or the process exits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "sim/guest/device_file.hpp"

namespace xenpv::sim::guest {

class grant_map;

class gntdev_file final : public device_file {
 public:
  gntdev_file();
  ~gntdev_file() override;

  int ioctl(unsigned long request, void* argument) override;
  [[nodiscard]] void* mmap(void* address, std::size_t size, int protection, int flags,
                           off_t offset) override;

 private:
  int add_map(void* argument);
  int remove_map(void* argument);
  int find_map(void* argument) const;
  int set_notice(void* argument);

  std::mutex mutex_;
  /// By the offset of the first page in the file.
  std::map<std::uint64_t, std::shared_ptr<grant_map>> maps_;
};

}  // namespace xenpv::sim::guest
