#include "doctor/kernel_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/words.hpp"
#include "channels/captured.hpp"
#include "doctor/log_prefix.hpp"
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
  constexpr auto parts = std::to_array<std::string_view>({"xen",
                                                          "Xen",
                                                          "XENBUS",
                                                          "clocksource",
                                                          "tsc:",
                                                          "TSC",
                                                          "Cycle offset",
                                                          "blkfront",
                                                          "blkif",
                                                          "Hypervisor detected",
                                                          "Freezing user",
                                                          "PM: suspend",
                                                          "APIC",
                                                          "Linux version",
                                                          "Booting paravirtualized",
                                                          "Booting kernel on",
                                                          "Brought up",
                                                          "Booted up",
                                                          "Machine model: XENVM",
                                                          "arch_timer",
                                                          "kernel BUG at",
                                                          "Kernel panic",
                                                          "pcifront",
                                                          "pci frontend",
                                                          "g.e. 0x",
                                                          "rant table",
                                                          "grant-table",
                                                          "I/O error, dev xvd",
                                                          "I/O error on dev xvd",
                                                          "I/O error on device xvd",
                                                          "soft lockup",
                                                          "blocked for more than",
                                                          "unplug emulated"});
  if (line.find("ommand line") != std::string_view::npos) return false;
  return parse_device_error(line).has_value() ||
         std::ranges::any_of(parts, [&](std::string_view part) {
           return line.find(part) != std::string_view::npos;
         });
}

/// True for the name of a frontend or backend, "vif-0" or "vif-76-0", but not for other devices.
bool is_xenbus_device(std::string_view name) {
  constexpr auto types = std::to_array<std::string_view>(
      {"vif", "vbd", "vkbd", "vfb", "console", "pci", "9pfs", "vtpm", "vscsi", "vusb", "vsnd",
       "vdispl", "pvcalls", "qdisk", "vcamera"});
  const auto dash = name.find('-');
  if (dash == std::string_view::npos || std::ranges::count(types, name.substr(0, dash)) == 0)
    return false;
  const auto numbers = name.substr(dash + 1);
  return !numbers.empty() && numbers.find_first_not_of("0123456789-") == std::string_view::npos;
}

/// True for a line of a call trace: "xennet_poll+0x2cf/0xbf0 [xen_netfront]".
bool is_trace(std::string_view line) {
  const auto offset = line.find("+0x");
  return offset != std::string_view::npos && line.find("/0x", offset) != std::string_view::npos;
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
  return {.problem = "not in the capture: xenpv-evtchn capture includes it if run as root"};
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
    out.lines.emplace_back(without_log_prefix(next_line(text)));
  return out;
}

std::optional<device_error> parse_device_error(std::string_view line) {
  const auto driver = next_word(line);
  auto device = next_word(line);
  const auto number = next_word(line);
  if (!driver || !device || !number || !device->ends_with(':')) return std::nullopt;
  device->remove_suffix(1);
  // The driver's name often differs from the device's type: "pcifront pci-0:", "xenconsole
  // console-1:".
  if (!is_xenbus_device(*device)) return std::nullopt;
  const auto error = parse_whole<int>(*number);
  const auto text = trim(line);
  if (!error || *error <= 0 || text.empty()) return std::nullopt;
  return device_error{.device = std::string(*device), .error = *error, .text = std::string(text)};
}

kernel_log without_foreign_lines(const kernel_log& log) {
  constexpr unsigned longest_trace = 60;
  kernel_log out;
  out.is_complete = log.is_complete;
  unsigned trace_lines = 0;
  for (const auto& line : log.lines) {
    const bool is_stall = line.find("soft lockup") != std::string::npos ||
                          line.find("blocked for more than") != std::string::npos;
    if (is_stall) trace_lines = longest_trace;
    if (is_quoted(line) || (trace_lines > 0 && is_trace(line))) out.lines.push_back(line);
    if (trace_lines > 0 && !is_stall) --trace_lines;
  }
  return out;
}

}  // namespace xenpv::doctor
