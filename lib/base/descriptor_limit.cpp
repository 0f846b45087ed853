#include "base/descriptor_limit.hpp"

#include <algorithm>
#include <cerrno>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv {
namespace {

constexpr rlim_t enough_descriptors = 65536;

}  // namespace

rlimit raise_descriptor_limit() noexcept {
  rlimit before{};
  if (::getrlimit(RLIMIT_NOFILE, &before) != 0) return before;
  auto raised = before;
  raised.rlim_cur = std::max(before.rlim_cur, std::min(before.rlim_max, enough_descriptors));
  if (::setrlimit(RLIMIT_NOFILE, &raised) != 0)
    log().debug("cannot raise the limit of open files: {}", describe_errno(errno));
  return before;
}

std::size_t descriptor_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<std::size_t>(limit.rlim_cur) : 1024;
}

}  // namespace xenpv
