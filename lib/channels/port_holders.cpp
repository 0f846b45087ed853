#include "channels/port_holders.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/open_files.hpp"
#include "base/parse.hpp"
#include "base/words.hpp"
#include "channels/captured.hpp"

namespace xenpv::channels {
std::vector<port_holder> read_port_holders(const system_root& root) {
  if (const auto text = root.read(captured_holders)) return parse_port_holders(*text);
  std::vector<port_holder> out;
  for (const auto pid : processes_with_open(
           root, [](const std::string& path) { return path == "/dev/xen/evtchn"; })) {
    const auto process = fmt::format("/proc/{}", pid);
    port_holder holder{.pid = pid, .command = root.read(process + "/comm").value_or("")};
    for (const auto& task : root.names(process + "/task"))
      if (auto thread = root.read(fmt::format("{}/task/{}/comm", process, task)))
        holder.threads.push_back(std::move(*thread));
    auto& threads = holder.threads;
    std::ranges::sort(threads);
    threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
    out.push_back(std::move(holder));
  }
  return out;
}

std::vector<port_holder> parse_port_holders(std::string_view text) {
  std::vector<port_holder> out;
  while (!text.empty()) {
    const auto fields = split(next_line(text), '\t');
    const auto pid = parse_whole<unsigned>(fields.front());
    if (!pid || fields.size() < 2) continue;
    port_holder holder{.pid = *pid, .command = std::string(fields[1])};
    for (std::size_t i = 2; i < fields.size(); ++i)
      holder.threads.emplace_back(fields[i]);
    out.push_back(std::move(holder));
  }
  return out;
}

std::string format_port_holders(const std::vector<port_holder>& holders) {
  std::string out;
  for (const auto& holder : holders) {
    out += fmt::format("{}\t{}", holder.pid, holder.command);
    for (const auto& thread : holder.threads)
      out += "\t" + thread;
    out += '\n';
  }
  return out;
}

std::vector<const port_holder*> holders_named(const std::vector<port_holder>& all,
                                              std::string_view opener) {
  std::vector<const port_holder*> out;
  for (const auto& holder : all)
    if (holder.command == opener || std::ranges::count(holder.threads, opener) > 0)
      out.push_back(&holder);
  return out;
}

}  // namespace xenpv::channels
