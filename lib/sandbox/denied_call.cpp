#include "sandbox/denied_call.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstring>

namespace xenpv::sandbox {
namespace {

/// A process under attack could make any number of requests.
constexpr std::size_t most_requests = 8;

struct request_position {
  std::string_view call;
  std::size_t argument;
  std::string_view name;
};
constexpr std::array<request_position, 9> multiplexed = {{{"ioctl", 1, "request"},
                                                          {"prctl", 0, "option"},
                                                          {"fcntl", 1, "command"},
                                                          {"socket", 0, "family"},
                                                          {"socketpair", 0, "family"},
                                                          {"clone", 0, "flags"},
                                                          {"mmap", 2, "protection"},
                                                          {"mprotect", 2, "protection"},
                                                          {"prlimit64", 1, "resource"}}};

const request_position* find_request(std::string_view call) noexcept {
  for (const auto& entry : multiplexed)
    if (entry.call == call) return &entry;
  return nullptr;
}

}  // namespace

std::optional<std::string> denial_log::add(const denied_call& call, std::string_view name) {
  const auto* const position = find_request(name);
  const auto request =
      position == nullptr ? 0U : static_cast<std::uint32_t>(call.arguments[position->argument]);
  auto& requests = logged_[call.number];
  if (requests.size() >= most_requests || !requests.insert(request).second) return std::nullopt;
  auto text =
      fmt::format("sandbox: {} the system call {} ({}", is_refused_ ? "denied" : "would deny",
                  name.empty() ? "unknown" : name, call.number);
  if (position != nullptr) text += fmt::format(", {} {:#x}", position->name, request);
  text += fmt::format(") of thread {}", call.thread);
  const std::string_view thread(call.thread_name.data(),
                                ::strnlen(call.thread_name.data(), call.thread_name.size()));
  if (!thread.empty()) text += fmt::format(" ({})", thread);
  return text + (is_refused_ ? ", which this program should not need; please report this line "
                               "(--sandbox=log permits such calls)"
                             : "; please report this line");
}

}  // namespace xenpv::sandbox
