#include "sim/guest/hypercalls.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "sim/guest/device_file.hpp"
#include "sim/guest/device_paths.hpp"
#include "sim/guest/libc.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {
namespace {

constexpr std::uint64_t guest_pages = 65536;

template <class Argument>
Argument* argument_of(const privcmd_hypercall_t& call, std::size_t index) {
  // The driver's interface passes pointers as numbers.
  return reinterpret_cast<Argument*>(  // NOLINT(performance-no-int-to-ptr)
      static_cast<std::uintptr_t>(call.arg[index]));
}

/// Returns the line in one of the files that the toolstack made for the domain, such as
/// /sys/hypervisor/version/major.
std::string line_in(const char* path) {
  std::array<char, 64> text{};
  const int fd = libc::open(simulated_path(path).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const auto size = ::read(fd, text.data(), text.size());
  libc::close(fd);
  std::string line(text.data(), size < 0 ? 0 : static_cast<std::size_t>(size));
  return line.substr(0, line.find('\n'));
}

int number_in(const char* path) {
  return std::atoi(line_in(path).c_str());
}

std::optional<std::size_t> find_slot(shared_state& state, std::uint32_t domain) {
  for (std::size_t slot = 0; slot < max_domains; ++slot)
    if (state.domains[slot].generation.load() != 0 && state.domains[slot].domain.load() == domain)
      return slot;
  return std::nullopt;
}

std::uint32_t own_domain(attachment& host) {
  return host.state().domains[host.slot()].domain.load();
}

int event_channel_status(attachment& host, evtchn_status& status) {
  auto& state = host.state();
  const auto self = own_domain(host);
  const auto domain = status.dom == DOMID_SELF ? self : status.dom;
  if (domain != self && self != raw(domid_0)) return fail(EPERM);
  const auto slot = find_slot(state, domain);
  if (!slot) return fail(ESRCH);
  if (status.port >= max_ports) return fail(EINVAL);
  const auto link = port_link::unpack(state.domains[*slot].ports[status.port].link.load());
  status.vcpu = 0;
  switch (link.kind) {
    case port_kind::closed:
      status.status = EVTCHNSTAT_closed;
      break;
    case port_kind::unbound:
      status.status = EVTCHNSTAT_unbound;
      status.u.unbound.dom = static_cast<domid_t>(link.remote_port);
      break;
    case port_kind::interdomain:
      status.status = EVTCHNSTAT_interdomain;
      status.u.interdomain.dom =
          static_cast<domid_t>(state.domains[link.remote_slot].domain.load());
      status.u.interdomain.port = link.remote_port;
      break;
    case port_kind::virq:
      status.status = EVTCHNSTAT_virq;
      status.u.virq = link.remote_port;
      break;
    case port_kind::kernel:
      status.status = EVTCHNSTAT_ipi;
      break;
  }
  return 0;
}

int event_channel_op(attachment& host, const privcmd_hypercall_t& call) {
  if (call.arg[0] == EVTCHNOP_status)
    return event_channel_status(host, *argument_of<evtchn_status>(call, 1));
  return not_simulated(host, call_kind::hypercall, call.op, call.arg[0]);
}

void describe_domain(shared_state& state, std::size_t slot, xen_domctl_getdomaininfo& info) {
  info = {};
  info.domain = static_cast<domid_t>(state.domains[slot].domain.load());
  info.flags = XEN_DOMINF_running | (info.domain == 0 ? 0U : XEN_DOMINF_hvm_guest | XEN_DOMINF_hap);
  info.tot_pages = guest_pages;
  info.max_pages = guest_pages + 256;
  info.nr_online_vcpus = 1;
  // As in /vm/UUID: the number of the domain, in decimal digits.
  for (unsigned digit = 0, rest = info.domain; digit < 6; ++digit, rest /= 100)
    info.handle[15 - digit] = static_cast<std::uint8_t>(rest / 10 % 10 << 4 | rest % 10);
}

int domain_control(attachment& host, const privcmd_hypercall_t& call) {
  auto& request = *argument_of<xen_domctl>(call, 0);
  if (own_domain(host) != raw(domid_0)) return fail(EPERM);
  if (request.interface_version != XEN_DOMCTL_INTERFACE_VERSION) return fail(EACCES);
  if (request.cmd != XEN_DOMCTL_getdomaininfo)
    return not_simulated(host, call_kind::hypercall, call.op, request.cmd);
  // Like the hypervisor, return the first domain with this or a higher ID.
  std::optional<std::size_t> found;
  for (std::size_t slot = 0; slot < max_domains; ++slot) {
    auto& domain = host.state().domains[slot];
    if (domain.generation.load() == 0 || domain.domain.load() < request.domain) continue;
    if (!found || domain.domain.load() < host.state().domains[*found].domain.load()) found = slot;
  }
  if (!found) return fail(ESRCH);
  describe_domain(host.state(), *found, request.u.getdomaininfo);
  request.domain = request.u.getdomaininfo.domain;
  return 0;
}

int list_domains(shared_state& state, xen_sysctl_getdomaininfolist& list) {
  auto* out = list.buffer.p;
  list.num_domains = 0;
  for (std::size_t slot = 0; slot < max_domains && list.num_domains < list.max_domains; ++slot) {
    auto& domain = state.domains[slot];
    if (domain.generation.load() == 0 || domain.domain.load() < list.first_domain) continue;
    describe_domain(state, slot, out[list.num_domains++]);
  }
  std::sort(out, out + list.num_domains,
            [](const auto& a, const auto& b) { return a.domain < b.domain; });
  return 0;
}

int system_control(attachment& host, const privcmd_hypercall_t& call) {
  auto& request = *argument_of<xen_sysctl>(call, 0);
  if (own_domain(host) != raw(domid_0)) return fail(EPERM);
  if (request.interface_version != XEN_SYSCTL_INTERFACE_VERSION) return fail(EACCES);
  if (request.cmd != XEN_SYSCTL_getdomaininfolist)
    return not_simulated(host, call_kind::hypercall, call.op, request.cmd);
  return list_domains(host.state(), request.u.getdomaininfolist);
}

template <std::size_t Size>
int copy_text(char (&out)[Size], std::string_view text) {
  std::memset(out, 0, Size);
  text.copy(out, Size - 1);
  return 0;
}

int version(attachment& host, const privcmd_hypercall_t& call) {
  switch (call.arg[0]) {
    case XENVER_version:
      return number_in("/sys/hypervisor/version/major") << 16 |
             number_in("/sys/hypervisor/version/minor");
    case XENVER_extraversion:
      return copy_text(*argument_of<xen_extraversion_t>(call, 1),
                       line_in("/sys/hypervisor/version/extra"));
    case XENVER_capabilities:
      return copy_text(*argument_of<xen_capabilities_info_t>(call, 1), "xen-3.0-x86_64 ");
    case XENVER_changeset:
      return copy_text(*argument_of<xen_changeset_info_t>(call, 1), "simulated");
    case XENVER_compile_info: {
      auto& info = *argument_of<xen_compile_info>(call, 1);
      copy_text(info.compiler, "xenpv-sim");
      copy_text(info.compile_by, "");
      copy_text(info.compile_domain, "");
      return copy_text(info.compile_date, "");
    }
    case XENVER_get_features:
      argument_of<xen_feature_info>(call, 1)->submap = 0;
      return 0;
    case XENVER_pagesize:
      return static_cast<int>(page_size);
    default:
      return not_simulated(host, call_kind::hypercall, call.op, call.arg[0]);
  }
}

}  // namespace

int not_simulated(attachment& host, call_kind kind, std::uint64_t number,
                  std::uint64_t command) noexcept {
  (void)host.call(control_op::not_simulated, static_cast<std::uint64_t>(kind), number, command);
  return fail(ENOSYS);
}

int hypercall(attachment& host, privcmd_hypercall_t& call) noexcept {
  switch (call.op) {
    case __HYPERVISOR_event_channel_op:
      return event_channel_op(host, call);
    case __HYPERVISOR_domctl:
      return domain_control(host, call);
    case __HYPERVISOR_sysctl:
      return system_control(host, call);
    case __HYPERVISOR_xen_version:
      return version(host, call);
    default:
      return not_simulated(host, call_kind::hypercall, call.op, call.arg[0]);
  }
}

}  // namespace xenpv::sim::guest
