// Helpers for calls of libxenstore: results to be freed with free(3), and errors that mean either a
// bad request or the loss of xenstored.
#pragma once

#include <cstdlib>
#include <memory>
#include <string_view>

struct xs_handle;

namespace xenpv::xen {

struct free_memory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};
template <class T>
using malloced = std::unique_ptr<T, free_memory>;

/// Sends a request that xenstored answers regardless of permissions. False if xenstored is gone.
[[nodiscard]] bool answers(xs_handle* handle) noexcept;

/// Throws for a failed request: errc::lost_connection when xenstored is gone, else the errno with a
/// remedy.
[[noreturn]] void throw_request_failed(xs_handle* handle, int error_number,
                                       std::string_view operation);

}  // namespace xenpv::xen
