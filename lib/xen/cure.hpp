// Remedies for failed calls to the Xen libraries. A remedy depends on the operation, the errno and
// the files below a system_root. Does not open devices.
#pragma once

#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"

namespace xenpv::xen {

/// The kind of operation that failed, which selects the remedy.
enum class attempt {
  open_device,  ///< object: path of the device
  open_store,   ///< object: value of XENSTORED_PATH, or empty if unset
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

/// Returns the text for the parentheses of a `failure`; empty if there is no useful advice.
/// `object` is used only for the kinds of `attempt` that document it.
[[nodiscard]] std::string cure_for(attempt kind, int error_number, std::string_view object,
                                   const system_root& root);

/// Throws `failure` for a failed attempt. The remedy depends on the files below XENPV_ROOT.
[[noreturn]] void throw_failed(attempt kind, int error_number, std::string_view operation);

/// Throws a `failure` such as "<path>: no such device (modprobe ...)". Reports a missing node as
/// ENODEV, which is clearer than the ENOENT from open(2).
[[noreturn]] void throw_open_failed(std::string_view path, int error_number);

/// Like throw_open_failed(), for xs_open(). `xenstored_path` is the value of XENSTORED_PATH, or
/// nullptr if unset.
[[noreturn]] void throw_store_open_failed(const char* xenstored_path, int error_number);

}  // namespace xenpv::xen
