#include "doctor/grant_use.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/words.hpp"
#include "channels/captured.hpp"
#include "channels/raw_facts.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::doctor {
namespace {

constexpr std::string_view shares = "/dev/xen/gntalloc";
constexpr std::string_view maps = "/dev/xen/gntdev";
constexpr std::uint64_t page_size = 4096;

std::optional<std::uint64_t> parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Returns the number of pages in a range such as "7f0000000000-7f0000002000".
std::uint64_t pages_in(std::string_view range) {
  const auto dash = range.find('-');
  if (dash == std::string_view::npos) return 0;
  const auto first = parse_hex(range.substr(0, dash));
  const auto last = parse_hex(range.substr(dash + 1));
  return first && last && *last > *first ? (*last - *first) / page_size : 0;
}

void read_holders(const system_root& root, grant_use& out) {
  out.sees_all_processes = ::geteuid() == 0;
  for (const auto& name : root.names("/proc")) {
    const auto pid = parse_whole<unsigned>(name);
    const auto text = pid ? root.read(fmt::format("/proc/{}/maps", name)) : std::nullopt;
    if (!text) continue;
    grant_holder holder{.pid = *pid};
    add_mappings(holder, *text);
    if (holder.shared == 0 && holder.mapped == 0) continue;
    holder.command = root.read(fmt::format("/proc/{}/comm", name)).value_or("");
    out.holders.push_back(std::move(holder));
  }
}

std::optional<share_trial> try_to_share() {
  if (::access(std::string(shares).c_str(), R_OK | W_OK) != 0) return std::nullopt;
  try {
    (void)xen::grant_sharer::open().share(domid_0, 1, false);
    return share_trial{.worked = true};
  } catch (const failure& refusal) {
    return share_trial{.error = refusal.code().value(), .problem = refusal.what()};
  }
}

}  // namespace

std::uint64_t grant_use::shared() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& holder : holders)
    sum += holder.shared;
  return sum;
}

std::uint64_t grant_use::mapped() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& holder : holders)
    sum += holder.mapped;
  return sum;
}

void add_mappings(grant_holder& holder, std::string_view text) {
  while (!text.empty()) {
    auto line = next_line(text);
    const auto range = next_word(line);
    if (!range) continue;
    if (line.ends_with(shares)) holder.shared += pages_in(*range);
    if (line.ends_with(maps)) holder.mapped += pages_in(*range);
  }
}

grant_use read_grant_use(const system_root& root, bool is_capture) {
  grant_use out;
  out.gntalloc_limit = channels::read_number(root, "/sys/module/xen_gntalloc/parameters/limit");
  out.gntdev_limit = channels::read_number(root, "/sys/module/xen_gntdev/parameters/limit");
  if (const auto captured = root.read(channels::captured_grants)) {
    parse_grant_use(*captured, out);
  } else if (is_capture) {
    out.was_examined = false;
  } else {
    read_holders(root, out);
    if (root.is_real()) out.trial = try_to_share();
  }
  return out;
}

std::string format_grant_use(const grant_use& use) {
  std::string out;
  if (use.sees_all_processes) out += "all\n";
  if (use.trial)
    out += fmt::format("trial {} {} {}\n", use.trial->worked ? 1 : 0, use.trial->error,
                       use.trial->problem);
  for (const auto& holder : use.holders)
    out += fmt::format("holder {} {} {} {}\n", holder.pid, holder.shared, holder.mapped,
                       holder.command);
  return out;
}

void parse_grant_use(std::string_view text, grant_use& out) {
  while (!text.empty()) {
    auto line = next_line(text);
    const auto kind = next_word(line).value_or("");
    if (kind == "all") out.sees_all_processes = true;
    const auto number = [&] {
      return parse_whole<std::uint64_t>(next_word(line).value_or("")).value_or(0);
    };
    if (kind == "trial") {
      share_trial trial{.worked = number() == 1};
      trial.error = static_cast<int>(std::min<std::uint64_t>(number(), 4095));
      trial.problem = trim(line);
      out.trial = std::move(trial);
    } else if (kind == "holder") {
      grant_holder holder{.pid = static_cast<unsigned>(number())};
      holder.shared = number();
      holder.mapped = number();
      holder.command = trim(line);
      out.holders.push_back(std::move(holder));
    }
  }
}

}  // namespace xenpv::doctor
