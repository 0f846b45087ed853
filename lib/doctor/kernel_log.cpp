#include "doctor/kernel_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/words.hpp"
#include "channels/captured.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::doctor {
namespace {

constexpr const char* kmsg_path = "/dev/kmsg";

std::string remedy_for(int error) {
  if (error == EPERM || error == EACCES)
    return fmt::format(
        "{} cannot be read: permission denied (run as root, or set sysctl kernel.dmesg_restrict=0)",
        kmsg_path);
  return fmt::format("{} cannot be read: {}", kmsg_path, describe_errno(error));
}

/// Each read(2) returns one record; EPIPE means that the oldest records were overwritten in the
/// meantime.
kernel_log read_device() {
  const unique_fd file(::open(kmsg_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file) return {.problem = remedy_for(errno)};
  kernel_log out;
  std::array<char, 8192> record{};
  while (true) {
    const auto size = ::read(file.get(), record.data(), record.size());
    if (size > 0) {
      add_kernel_record(out, {record.data(), static_cast<std::size_t>(size)});
    } else if (size == 0 || errno == EAGAIN) {
      break;
    } else if (errno != EINTR && errno != EPIPE) {
      out.problem = remedy_for(errno);
      break;
    }
  }
  return out;
}

/// True for lines that check results quote. Excludes the line with the kernel command line, which
/// may contain other data.
bool is_quoted(std::string_view line) {
  constexpr std::array<std::string_view, 10> parts = {
      "xen",         "Xen",   "clocksource",         "tsc:",
      "blkfront",    "blkif", "Hypervisor detected", "Freezing user",
      "PM: suspend", "APIC"};
  if (line.find("ommand line") != std::string_view::npos) return false;
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
    return line.find(part) != std::string_view::npos;
  });
}

}  // namespace

const std::string* kernel_log::find(std::string_view part) const noexcept {
  for (const auto& line : lines)
    if (line.find(part) != std::string::npos) return &line;
  return nullptr;
}

const std::string* kernel_log::find_last(std::string_view part) const noexcept {
  for (auto line = lines.rbegin(); line != lines.rend(); ++line)
    if (line->find(part) != std::string::npos) return &*line;
  return nullptr;
}

void add_kernel_record(kernel_log& log, std::string_view record) {
  const auto head = record.substr(0, record.find(';'));
  if (head.size() == record.size()) return;
  const auto fields = split(head, ',');
  const auto sequence = fields.size() < 3 ? std::nullopt : parse_whole<std::uint64_t>(fields[1]);
  if (!sequence) return;
  if (log.lines.empty()) log.is_complete = *sequence == 0;
  auto text = record.substr(head.size() + 1);
  log.lines.emplace_back(next_line(text));
}

kernel_log read_kernel_log(const system_root& root) {
  if (root.is_real()) return read_device();
  if (const auto captured = root.read(channels::captured_log)) return parse_kernel_log(*captured);
  return {.problem = "the capture does not contain the kernel log"};
}

std::string format_kernel_log(const kernel_log& log) {
  std::string out = log.is_complete ? "complete\n" : "partial\n";
  for (const auto& line : log.lines)
    out += line + "\n";
  return out;
}

kernel_log parse_kernel_log(std::string_view text) {
  kernel_log out;
  out.is_complete = next_line(text) == "complete";
  while (!text.empty())
    out.lines.emplace_back(next_line(text));
  return out;
}

kernel_log without_foreign_lines(const kernel_log& log) {
  kernel_log out;
  out.is_complete = log.is_complete;
  for (const auto& line : log.lines)
    if (is_quoted(line)) out.lines.push_back(line);
  return out;
}

}  // namespace xenpv::doctor
