#include "sim/guest/privcmd.hpp"

#include "sim/guest/attachment.hpp"
#include "sim/guest/hypercalls.hpp"
#include "sim/guest/xen_abi.hpp"

namespace xenpv::sim::guest {

static_assert(DOMID_INVALID == 0x7FF4);

bool privcmd_file::is_restricted() const noexcept {
  return domain_.load() != DOMID_INVALID;
}

int privcmd_file::restrict_to(std::uint16_t domain) {
  std::uint16_t none = DOMID_INVALID;
  return domain_.compare_exchange_strong(none, domain) || none == domain ? 0 : fail(EINVAL);
}

int privcmd_file::ioctl(unsigned long request, void* argument) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  const bool allowed = host->allows_hypercalls();
  switch (request) {
    case IOCTL_PRIVCMD_RESTRICT:
      if (argument == nullptr) return fail(EFAULT);
      // Since XSA-482, a guest's descriptors are restricted from the start.
      return allowed ? restrict_to(*static_cast<domid_t*>(argument)) : fail(EINVAL);
    case IOCTL_PRIVCMD_HYPERCALL:
      if (is_restricted() || !allowed) return fail(EPERM);
      if (argument == nullptr) return fail(EFAULT);
      return hypercall(*host, *static_cast<privcmd_hypercall_t*>(argument));
    case IOCTL_PRIVCMD_DM_OP:
      if (argument == nullptr) return fail(EFAULT);
      if (!allowed) return fail(EPERM);
      // libxendevicemodel probes for kernel support with an empty request.
      if (static_cast<privcmd_dm_op_t*>(argument)->num == 0) return 0;
      return not_simulated(*host, call_kind::privcmd_ioctl, _IOC_NR(request));
    case IOCTL_PRIVCMD_MMAP:
    case IOCTL_PRIVCMD_MMAPBATCH:
    case IOCTL_PRIVCMD_MMAPBATCH_V2:
    case IOCTL_PRIVCMD_MMAP_RESOURCE:
      if (!allowed) return fail(EPERM);
      return not_simulated(*host, call_kind::privcmd_ioctl, _IOC_NR(request));
    default:
      return fail(ENOTTY);
  }
}

void* privcmd_file::mmap(void* address, std::size_t size, int protection, int flags, off_t) {
  // The driver reserves the range; IOCTL_PRIVCMD_MMAP and its variants fill it.
  static_cast<void>(protection);
  constexpr int placement = MAP_FIXED | MAP_FIXED_NOREPLACE;
  return ::mmap(address, size, PROT_NONE, (flags & placement) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

}  // namespace xenpv::sim::guest
