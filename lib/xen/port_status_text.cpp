// Formats the names of port types and virtual IRQs; formats and parses lines of lsevtchn output.
#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/parse.hpp"
#include "xen/port_status.hpp"

namespace xenpv::xen {
namespace {

// The VIRQ_* names from xen.h.
constexpr std::array<std::pair<std::uint32_t, std::string_view>, 14> virq_names = {{
    {0, "TIMER"},
    {1, "DEBUG"},
    {2, "CONSOLE"},
    {3, "DOM_EXC"},
    {4, "TBUF"},
    {6, "DEBUGGER"},
    {7, "XENOPROF"},
    {8, "CON_RING"},
    {9, "PCPU_STATE"},
    {10, "MEM_EVENT"},
    {11, "ARGO"},
    {12, "ENOMEM"},
    {13, "XENPMU"},
    {16, "MCA"},  // the first of eight architecture-specific VIRQs
}};

/// Removes `prefix` from the front of `text`. Returns false if `text` does not start with it.
bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<std::uint32_t> take_number(std::string_view& text) {
  const auto end = text.find_first_not_of("0123456789");
  const auto number = parse_unsigned(text.substr(0, end), "number", 0, ~std::uint32_t{0});
  if (!number) return std::nullopt;
  text = end == std::string_view::npos ? std::string_view() : text.substr(end);
  return static_cast<std::uint32_t>(*number);
}

std::optional<domid> take_domain(std::string_view& text) {
  const auto number = take_number(text);
  if (!number || *number > 0xFFFF) return std::nullopt;
  return domid{static_cast<std::uint16_t>(*number)};
}

bool take_irq(std::string_view& text, port_type type, port_status& out) {
  out.type = type;
  out.number_of_irq = take_number(text);
  return out.number_of_irq.has_value();
}

bool take_state(std::string_view& rest, port_status& out) {
  if (take(rest, "Interdomain (Waiting connection) - Remote Domain ")) {
    out.type = port_type::unbound;
    out.remote_domain = take_domain(rest);
    return out.remote_domain.has_value();
  }
  if (take(rest, "Interdomain (Connected) - Remote Domain ")) {
    out.type = port_type::interdomain;
    out.remote_domain = take_domain(rest);
    if (!out.remote_domain || !take(rest, ", Port ")) return false;
    const auto remote = take_number(rest);
    if (remote) out.remote_port = port{*remote};
    return remote.has_value();
  }
  if (take(rest, "Physical IRQ ")) return take_irq(rest, port_type::pirq, out);
  if (take(rest, "Virtual IRQ ")) return take_irq(rest, port_type::virq, out);
  out.type = port_type::ipi;
  return take(rest, "IPI");
}

std::optional<port_status> parse_line(std::string_view line) {
  port_status out;
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const auto number = take_number(line);
  if (!number || !take(line, ": VCPU ")) return std::nullopt;
  out.number = port{*number};
  const auto vcpu = take_number(line);
  if (!vcpu || !take(line, ": ") || !take_state(line, out)) return std::nullopt;
  out.vcpu = *vcpu;
  // Newer versions append more fields.
  return line.empty() || line.front() == ' ' ? std::optional(out) : std::nullopt;
}

}  // namespace

std::string_view to_string(port_type type) noexcept {
  switch (type) {
    case port_type::unbound:
      return "unbound";
    case port_type::interdomain:
      return "interdomain";
    case port_type::pirq:
      return "pirq";
    case port_type::virq:
      return "virq";
    case port_type::ipi:
      return "ipi";
  }
  return "invalid";
}

std::string virq_name(std::uint32_t virq) {
  for (const auto& [number, name] : virq_names)
    if (number == virq) return std::string(name);
  return fmt::format("VIRQ {}", virq);
}

std::string format_lsevtchn(const port_status& status) {
  const auto head = fmt::format("{:4}: VCPU {}: ", status.number, status.vcpu);
  const auto remote = status.remote_domain.value_or(domid_0);
  const auto irq = status.number_of_irq.value_or(0);
  switch (status.type) {
    case port_type::unbound:
      return head + fmt::format("Interdomain (Waiting connection) - Remote Domain {}", remote);
    case port_type::interdomain:
      return head + fmt::format("Interdomain (Connected) - Remote Domain {}, Port {}", remote,
                                status.remote_port.value_or(port{0}));
    case port_type::pirq:
      return head + fmt::format("Physical IRQ {}", irq);
    case port_type::virq:
      return head + fmt::format("Virtual IRQ {}", irq);
    case port_type::ipi:
      return head + "IPI";
  }
  return head + "Unknown";
}

result<std::vector<port_status>> parse_lsevtchn(std::string_view text) {
  std::vector<port_status> out;
  for (const auto line : split(text, '\n')) {
    if (line.find_first_not_of(' ') == std::string_view::npos) continue;
    const auto status = parse_line(line);
    if (!status)
      return make_error(errc::invalid_argument, fmt::format("read the port line '{}'", line),
                        "expected the output of lsevtchn");
    out.push_back(*status);
  }
  return out;
}

}  // namespace xenpv::xen
