#include "channels/irq_files.hpp"

#include <fmt/format.h>

#include "base/words.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::channels {
namespace {

std::optional<std::vector<unsigned>> read_cpus(const system_root& root, unsigned irq,
                                               std::string_view file) {
  const auto text = root.read(fmt::format("/proc/irq/{}/{}", irq, file));
  return text ? parse_cpu_set(*text) : std::nullopt;
}

std::optional<std::string> read_word(const system_root& root, unsigned irq, std::string_view file) {
  auto text = root.read(fmt::format("/sys/kernel/irq/{}/{}", irq, file));
  if (text && text->empty()) return std::nullopt;
  return text;
}

}  // namespace

std::optional<spurious_count> parse_spurious(std::string_view text) {
  spurious_count out;
  unsigned seen = 0;
  while (!text.empty()) {
    auto line = next_line(text);
    const auto name = next_word(line);
    const auto word = next_word(line);
    if (!name) continue;
    const auto value = word ? parse_whole<std::uint64_t>(*word) : std::nullopt;
    if (!value) return std::nullopt;
    if (*name == "count") out.count = *value;
    if (*name == "unhandled") out.unhandled = *value;
    if (*name == "last_unhandled") out.last_unhandled_ms = *value;
    ++seen;
  }
  return seen == 0 ? std::nullopt : std::optional(out);
}

std::optional<std::vector<unsigned>> parse_cpu_set(std::string_view text) {
  while (text.ends_with('\n'))
    text.remove_suffix(1);
  if (trim(text).empty()) return std::vector<unsigned>();
  auto cpus = async::parse_cpu_list(trim(text));
  if (!cpus) return std::nullopt;
  return std::move(*cpus);
}

irq_facts read_irq_affinity(const system_root& root, unsigned irq) {
  irq_facts out;
  out.irq = irq;
  out.allowed = read_cpus(root, irq, "smp_affinity_list");
  out.effective = read_cpus(root, irq, "effective_affinity_list");
  return out;
}

irq_facts read_irq_facts(const system_root& root, unsigned irq) {
  auto out = read_irq_affinity(root, irq);
  if (const auto text = root.read(fmt::format("/proc/irq/{}/spurious", irq)))
    out.spurious = parse_spurious(*text);
  out.actions = read_word(root, irq, "actions");
  out.chip = read_word(root, irq, "chip_name");
  out.handler = read_word(root, irq, "name");
  out.trigger = read_word(root, irq, "type");
  return out;
}

}  // namespace xenpv::channels
