// Helpers for libxenstore calls: ownership of results that must be released with free(3), and the
// distinction between a bad request and a lost connection.
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

/// Sends a request that succeeds regardless of permissions. Returns false if the connection to
/// xenstored is lost.
[[nodiscard]] bool answers(xs_handle* handle) noexcept;

/// Throws for a failed request: errc::lost_connection if the connection to xenstored is lost,
/// otherwise the errno with a remedy.
[[noreturn]] void throw_request_failed(xs_handle* handle, int error_number,
                                       std::string_view operation);

}  // namespace xenpv::xen
