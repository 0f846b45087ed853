#include "doctor/event_abi.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace xenpv::doctor {
namespace {

using channels::event_abi;

constexpr release_number first_fifo_xen{4, 4};
constexpr release_number first_debug_linux{5, 11};
constexpr const char* two_level_message = "Using 2-level ABI";
/// Such port numbers exist only with the FIFO ABI (event_channel.h: EVTCHN_2L_NR_CHANNELS).
constexpr std::uint32_t first_fifo_port = 4096;

bool has_debug_rows(const guest_snapshot& snapshot) {
  for (const auto& channel : snapshot.channels.channels)
    if (channel.kind == channels::channel_kind::debug && channel.irq) return true;
  return false;
}

/// Enterprise kernels contain features of newer releases than their number.
bool is_enterprise(std::string_view kernel) {
  return kernel.find(".el") != std::string_view::npos;
}

/// Returns the highest known port number.
std::uint32_t highest_port(const guest_snapshot& snapshot) {
  std::uint32_t out = 0;
  for (const auto& channel : snapshot.channels.channels)
    if (channel.number) out = std::max<std::uint32_t>(out, raw(channel.number->value));
  return out;
}

/// Whether rows callfunc and callfuncsingle of a CPU have adjacent IRQ numbers. The kernel binds
/// the debug VIRQ between them (xen_smp_intr_init), so a gap shows that the rows are an excerpt.
bool has_adjacent_ipis(const guest_snapshot& snapshot) {
  const auto& all = snapshot.channels.channels;
  std::set<std::pair<unsigned, unsigned>> calls;
  for (const auto& channel : all)
    if (channel.detail == "callfunc" && channel.irq && channel.of_cpu)
      calls.emplace(*channel.of_cpu, *channel.irq);
  return std::ranges::any_of(all, [&](const channels::channel& channel) {
    return channel.detail == "callfuncsingle" && channel.irq > 0U && channel.of_cpu &&
           calls.contains({*channel.of_cpu, *channel.irq - 1});
  });
}

abi_finding find_in_rows(const guest_snapshot& snapshot) {
  if (!has_debug_rows(snapshot)) {
    if (!has_adjacent_ipis(snapshot)) return {};
    return {event_abi::fifo, {{"/proc/interrupts", "IPI rows, but no row debug0"}}};
  }
  if (parse_release(snapshot.kernel) >= first_debug_linux)
    return {event_abi::two_level,
            {{"/proc/interrupts", "rows debugN"}, {"Linux release", snapshot.kernel}}};
  return {std::nullopt,
          {{"/proc/interrupts", "rows debugN, which show the ABI only since Linux 5.11"}}};
}

}  // namespace

abi_finding find_event_abi(const guest_snapshot& snapshot) {
  if (const auto* line = snapshot.log.find(fifo_abi_message))
    return {event_abi::fifo, {{"kernel log", *line}}};
  if (const auto* line = snapshot.log.find(two_level_message))
    return {event_abi::two_level, {{"kernel log", *line}}};
  if (snapshot.from.interrupts.value && channels::is_xenlinux(*snapshot.from.interrupts.value))
    return {event_abi::two_level,
            {{"/proc/interrupts", "rows Dynamic-irq of a XenLinux kernel, which lacks FIFO"}}};
  const auto linux_release = parse_release(snapshot.kernel);
  const auto xen_release = parse_release(snapshot.from.guest.xen_version.value_or(""));
  if (linux_release && *linux_release < first_fifo_release && !is_enterprise(snapshot.kernel))
    return {event_abi::two_level,
            {{"Linux release", snapshot.kernel + ": FIFO channels exist since 3.14"}}};
  if (xen_release && *xen_release < first_fifo_xen)
    return {
        event_abi::two_level,
        {{"Xen version", *snapshot.from.guest.xen_version + ": FIFO channels exist since 4.4"}}};
  if (const auto port = highest_port(snapshot); port >= first_fifo_port)
    return {event_abi::fifo, {{"highest port number", fmt::format("{}", port)}}};
  return find_in_rows(snapshot);
}

}  // namespace xenpv::doctor
