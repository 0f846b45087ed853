#include "xen/cure.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "xen/known_devices.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

constexpr std::string_view gntalloc_limit = "/sys/module/xen_gntalloc/parameters/limit";

bool runs_on_xen(const system_root& root) {
  return root.read("/sys/hypervisor/type") == "xen";
}

std::string missing_device_remedy(std::string_view path, const system_root& root) {
  const auto* device = find_known_device(path);
  const auto load = device != nullptr ? device->load : std::string_view("load its module");
  if (runs_on_xen(root)) return std::string(load);
  return fmt::format("{} in a Xen guest; this machine is not a Xen guest; xenpv-sim simulates one",
                     load);
}

std::string open_remedy(int error_number, std::string_view path, const system_root& root) {
  switch (error_number) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return missing_device_remedy(path, root);
    case EACCES:
    case EPERM:
      return fmt::format("run as root or give this user access to {} with a udev rule", path);
    case EMFILE:
      return "raise the open-file limit with ulimit -n";
    case ENFILE:
      return "the system's file table is full; raise fs.file-max";
    default:
      return {};
  }
}

std::string store_open_remedy(int error_number, std::string_view xenstored_path,
                              const system_root& root) {
  if (xenstored_path.empty()) return open_remedy(error_number, "/dev/xen/xenbus", root);
  switch (error_number) {
    case ENOENT:
    case ECONNREFUSED:
      return "set by XENSTORED_PATH; is xenstored running there?";
    case EACCES:
    case EPERM:
      return "set by XENSTORED_PATH; this user is not allowed to connect";
    default:
      return "set by XENSTORED_PATH";
  }
}

// Covers the errors that mean the same for all EVTCHNOP_bind_* operations.
std::string bind_remedy(int error_number) {
  switch (error_number) {
    case ENOSPC:
      return "the domain has no free event channels; raise max_event_channels in its xl "
             "configuration";
    case EACCES:
      return "the handle is restricted and does not allow this bind";
    case EPERM:
      return "denied by the Xen security policy";
    case ESRCH:
      return "no such domain";
    default:
      return {};
  }
}

std::string bind_virq_remedy(int error_number) {
  switch (error_number) {
    case EEXIST:
      return "already bound by the kernel or another process";
    case EBUSY:
      return "global virtual IRQs are reserved for the control domain";
    case EINVAL:
      return "no such virtual IRQ";
    default:
      return bind_remedy(error_number);
  }
}

std::string restrict_remedy(int error_number) {
  switch (error_number) {
    case EINVAL:
      return "Linux does not restrict a handle to domain 0";
    case EACCES:
      return "the handle is already restricted";
    case ENOTTY:
      return "the xen-evtchn driver of this kernel cannot restrict handles";
    default:
      return {};
  }
}

std::string share_remedy(int error_number, const system_root& root) {
  if (error_number != ENOSPC) return {};
  const auto limit = root.read(gntalloc_limit);
  return limit ? fmt::format("limit {} in {}", *limit, gntalloc_limit)
               : fmt::format("the limit in {} is reached", gntalloc_limit);
}

std::string store_request_remedy(int error_number) {
  switch (error_number) {
    case EACCES:
    case EPERM:
      return "the node's permissions, which the toolstack sets, exclude this domain";
    case ENOSPC:
      return "this domain has reached its xenstored quota of nodes, watches or transactions";
    case E2BIG:
      return "xenstored accepts requests of up to 4096 bytes";
    case EINVAL:
      return "is the path well formed?";
    default:
      return {};
  }
}

}  // namespace

std::string cure_for(attempt kind, int error_number, std::string_view object,
                     const system_root& root) {
  switch (kind) {
    case attempt::open_device:
      return open_remedy(error_number, object, root);
    case attempt::open_store:
      return store_open_remedy(error_number, object, root);
    case attempt::bind_unbound:
      return bind_remedy(error_number);
    case attempt::bind_interdomain:
      return error_number == EINVAL ? "the remote port is not waiting for this domain"
                                    : bind_remedy(error_number);
    case attempt::bind_virq:
      return bind_virq_remedy(error_number);
    case attempt::use_port:
      return error_number == ENOTCONN ? "the port is not bound through this handle" : "";
    case attempt::drain_ports:
      return error_number == EFBIG
                 ? "the handle's ring of pending ports overflowed; open a new handle"
                 : "";
    case attempt::restrict_handle:
      return restrict_remedy(error_number);
    case attempt::share_pages:
      return share_remedy(error_number, root);
    case attempt::map_grants:
      return error_number == EINVAL ? "not granted to this domain, or granted read-only" : "";
    case attempt::store_request:
      return store_request_remedy(error_number);
  }
  return {};
}

void throw_failed(attempt kind, int error_number, std::string_view operation) {
  throw_errno(error_number, operation,
              cure_for(kind, error_number, {}, system_root::from_environment()));
}

void throw_open_failed(std::string_view path, int error_number) {
  const bool missing = error_number == ENOENT || error_number == ENXIO;
  throw_errno(missing ? ENODEV : error_number, path,
              cure_for(attempt::open_device, error_number, path, system_root::from_environment()));
}

void throw_store_open_failed(const char* xenstored_path, int error_number) {
  if (xenstored_path == nullptr || *xenstored_path == '\0')
    throw_open_failed("/dev/xen/xenbus", error_number);
  throw_errno(
      error_number, fmt::format("xenstore at {}", xenstored_path),
      cure_for(attempt::open_store, error_number, xenstored_path, system_root::from_environment()));
}

}  // namespace xenpv::xen
