#include "sandbox/call_names.hpp"

#include <seccomp.h>

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace xenpv::sandbox {
namespace {

/// Linux assigns numbers consecutively and is far below this limit.
constexpr int number_limit = 1024;

}  // namespace

call_names::call_names() {
  for (int number = 0; number < number_limit; ++number) {
    const std::unique_ptr<char, decltype(&std::free)> name(
        ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number), std::free);
    if (name == nullptr) continue;
    names_.resize(static_cast<std::size_t>(number) + 1);
    names_.back() = name.get();
  }
}

std::string_view call_names::find(int number) const noexcept {
  if (number < 0 || number > highest()) return {};
  return names_[static_cast<std::size_t>(number)];
}

}  // namespace xenpv::sandbox
