// Access to hypercalls from user space (/dev/xen/privcmd through libxencall), which Linux allows in
// domain 0 and, since XSA-482, forbids in ordinary guests. Errors explain why hypercalls are not
// available. Does not issue hypercalls itself.
#pragma once

#include <memory>
#include <string_view>

#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

extern "C" {
#include <xencall.h>
}

namespace xenpv::xen {

struct call_closer {
  void operator()(xencall_handle* handle) const noexcept { xencall_close(handle); }
};
using call_handle = std::unique_ptr<xencall_handle, call_closer>;

struct buffer_freer {
  xencall_handle* handle;
  void operator()(void* buffer) const noexcept { xencall_free_buffer(handle, buffer); }
};
/// Memory that the hypervisor may write to.
template <class T>
using call_buffer = std::unique_ptr<T, buffer_freer>;

/// Throws `failure` with errc::not_available for `operation` if the device is missing or not
/// accessible. May block in open(2) until xenstore is up.
[[nodiscard]] call_handle open_calls(const system_root& root, std::string_view operation);

/// Throws `failure` for a hypercall that failed with `error`.
[[noreturn]] void throw_call_refused(int error, std::string_view operation);

template <class T>
[[nodiscard]] call_buffer<T> make_call_buffer(const call_handle& calls) {
  call_buffer<T> buffer(static_cast<T*>(xencall_alloc_buffer(calls.get(), sizeof(T))),
                        {calls.get()});
  if (!buffer) throw_errno("allocate a buffer for hypercalls");
  return buffer;
}

}  // namespace xenpv::xen
