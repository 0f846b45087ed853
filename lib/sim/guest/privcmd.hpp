// The simulated privcmd driver (Linux: drivers/xen/privcmd.c). In a guest, hypercalls fail with
// EPERM, as in Linux since XSA-482, unless the host allows them. Domain 0 and guests with that
// permission can make the hypercalls of hypercalls.hpp.
#pragma once

#include <atomic>
#include <cstdint>

#include "sim/guest/device_file.hpp"

namespace xenpv::sim::guest {

class privcmd_file final : public device_file {
 public:
  int ioctl(unsigned long request, void* argument) override;
  [[nodiscard]] void* mmap(void* address, std::size_t size, int protection, int flags,
                           off_t offset) override;

 private:
  int restrict_to(std::uint16_t domain);
  [[nodiscard]] bool is_restricted() const noexcept;

  std::atomic<std::uint16_t> domain_{0x7FF4};  // DOMID_INVALID: not restricted
};

}  // namespace xenpv::sim::guest
