// What the calls of libxenstore have in common: memory that is freed with free(3), and errors that
// may mean "your request is bad" or "nobody is there".
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

/// Asks xenstored something that it answers whatever we may do.
[[nodiscard]] bool answers(xs_handle* handle) noexcept;

/// Throws for a failed request: errc::lost_connection when xenstored is gone, else the errno with a
/// cure.
[[noreturn]] void throw_request_failed(xs_handle* handle, int error_number,
                                       std::string_view operation);

}  // namespace xenpv::xen
