// Remedies for failed calls of Xen's libraries, all in one place.
// A remedy depends on the operation, the errno and the files of a system_root. Opens no device.
#pragma once

#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"

namespace xenpv::xen {

/// The operation that failed, as far as the remedy depends on it.
enum class attempt {
  open_device,  ///< object: the device's path
  open_store,   ///< object: the value of XENSTORED_PATH, or empty when it is not set
  bind_unbound,
  bind_interdomain,
  bind_virq,
  use_port,  ///< notify, unmask, unbind
  drain_ports,
  restrict_handle,
  share_pages,
  map_grants,
  store_request,
};

/// Text for the parentheses of a `failure`; empty if there is no useful advice.
/// `object` counts only where `attempt` documents it.
[[nodiscard]] std::string cure_for(attempt kind, int error_number, std::string_view object,
                                   const system_root& root);

/// Throws the `failure` of an attempt, with the remedy that fits the files below XENPV_ROOT.
[[noreturn]] void throw_failed(attempt kind, int error_number, std::string_view operation);

/// Throws "<path>: no such device (modprobe ...)" and the like. Reports a missing node as
/// ENODEV, which is clearer to the user than open(2)'s ENOENT.
[[noreturn]] void throw_open_failed(std::string_view path, int error_number);

/// The same for xs_open(). `xenstored_path` is the value of XENSTORED_PATH, nullptr when not set.
[[noreturn]] void throw_store_open_failed(const char* xenstored_path, int error_number);

}  // namespace xenpv::xen
