#include "xen/gnttab_library.hpp"

#include <xentoollog.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::xen {
namespace {

__attribute__((format(printf, 5, 0))) void forward_message(xentoollog_logger*, xentoollog_level,
                                                           int error_number, const char* context,
                                                           const char* format, va_list values) {
  const int saved = errno;
  std::array<char, 256> text{};
  std::vsnprintf(text.data(), text.size(), format, values);
  const char* library = context != nullptr ? context : "libxengnttab";
  if (error_number >= 0)
    log().debug("{}: {}: {}", library, text.data(), describe_errno(error_number));
  else
    log().debug("{}: {}", library, text.data());
  errno = saved;
}

void keep_alive(xentoollog_logger*) {}

}  // namespace

xentoollog_logger* gnttab_logger() noexcept {
  static xentoollog_logger logger{forward_message, nullptr, keep_alive};
  return &logger;
}

}  // namespace xenpv::xen
