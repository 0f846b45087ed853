#include "sim/intercept/hypercall_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "sim/guest/device_file.hpp"
#include "sim/intercept/process_memory.hpp"
#include "sim/shared_state.hpp"

namespace xenpv::sim::intercept {
namespace {

/// The argument of a hypercall that points to memory.
struct pointer_argument {
  std::size_t index = 0;
  std::size_t size = 0;  ///< 0: no argument, or an unused one
};

std::size_t version_size(std::uint64_t command) {
  switch (command) {
    case XENVER_extraversion:
      return sizeof(xen_extraversion_t);
    case XENVER_capabilities:
      return sizeof(xen_capabilities_info_t);
    case XENVER_changeset:
      return sizeof(xen_changeset_info_t);
    case XENVER_compile_info:
      return sizeof(xen_compile_info);
    case XENVER_get_features:
      return sizeof(xen_feature_info);
    default:
      return 0;
  }
}

pointer_argument find_pointer(const privcmd_hypercall_t& call) {
  switch (call.op) {
    case __HYPERVISOR_event_channel_op:
      return {1, call.arg[0] == EVTCHNOP_status ? sizeof(evtchn_status) : 0};
    case __HYPERVISOR_domctl:
      return {0, sizeof(xen_domctl)};
    case __HYPERVISOR_sysctl:
      return {0, sizeof(xen_sysctl)};
    case __HYPERVISOR_xen_version:
      return {1, version_size(call.arg[0])};
    default:
      return {};
  }
}

/// The list that XEN_SYSCTL_getdomaininfolist fills. While this object exists, the request refers
/// to the supervisor's memory.
class domain_list {
 public:
  explicit domain_list(xen_sysctl& request)
      : list_(request.u.getdomaininfolist),
        address_(list_.buffer.p),
        max_domains_(list_.max_domains),
        domains_(std::min<std::size_t>(max_domains_, sim::max_domains)) {
    list_.buffer.p = domains_.data();
    list_.max_domains = static_cast<std::uint32_t>(domains_.size());
  }
  ~domain_list() {
    list_.buffer.p = address_;
    list_.max_domains = max_domains_;
  }
  domain_list(const domain_list&) = delete;
  domain_list& operator=(const domain_list&) = delete;

  [[nodiscard]] bool write(pid_t thread) const {
    const auto count = std::min<std::size_t>(list_.num_domains, domains_.size());
    return count == 0 || write_memory(thread, reinterpret_cast<std::uintptr_t>(address_),
                                      domains_.data(), count * sizeof(xen_domctl_getdomaininfo));
  }

 private:
  xen_sysctl_getdomaininfolist& list_;
  xen_domctl_getdomaininfo* address_;
  std::uint32_t max_domains_;
  std::vector<xen_domctl_getdomaininfo> domains_;
};

int make_hypercall(guest::privcmd_file& file, privcmd_hypercall_t& call) {
  return file.ioctl(IOCTL_PRIVCMD_HYPERCALL, &call);
}

int list_domains(pid_t thread, guest::privcmd_file& file, privcmd_hypercall_t& call,
                 xen_sysctl& request) {
  const domain_list list(request);
  const int result = make_hypercall(file, call);
  return result < 0 || list.write(thread) ? result : -1;
}

}  // namespace

int forward_hypercall(const system_call& caller, guest::privcmd_file& file,
                      privcmd_hypercall_t call) {
  const auto thread = caller.thread();
  const auto pointer = find_pointer(call);
  if (pointer.size == 0) return make_hypercall(file, call);
  std::vector<std::byte> argument(pointer.size);
  auto& word = call.arg[pointer.index];
  const auto address = word;
  if (!read_memory(thread, address, argument.data(), argument.size())) return -1;
  if (!caller.is_waiting()) return guest::fail(ESRCH);
  word = reinterpret_cast<std::uintptr_t>(argument.data());

  auto* control = reinterpret_cast<xen_sysctl*>(argument.data());
  const bool is_list =
      call.op == __HYPERVISOR_sysctl && control->cmd == XEN_SYSCTL_getdomaininfolist;
  const int result =
      is_list ? list_domains(thread, file, call, *control) : make_hypercall(file, call);
  if (result < 0) return result;
  return write_memory(thread, address, argument.data(), argument.size()) ? result : -1;
}

}  // namespace xenpv::sim::intercept
