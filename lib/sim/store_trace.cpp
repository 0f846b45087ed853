#include "sim/store_trace.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <ctime>

namespace xenpv::sim {
namespace {

constexpr std::array<std::string_view, 5> switch_names = {"obj", "io", "wrl", "acc", "tdb"};
constexpr std::size_t io_switch = 1;

std::string format_time() {
  const auto now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  std::array<char, 32> text{};
  const auto size = std::strftime(text.data(), text.size(), "%Y%m%d %H:%M:%S", &parts);
  return {text.data(), size};
}

std::string upper_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
  return out;
}

void append(int file, std::string_view text) {
  // xenstored ignores errors here, too: it must keep serving when the disk is full.
  if (::write(file, text.data(), text.size()) < 0) return;
}

}  // namespace

unique_fd store_trace::open_file(const std::string& path) const {
  if (!options_.writes_files || path.empty()) return {};
  // O_NONBLOCK: opening a FIFO that has no reader must not stop the host.
  constexpr int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  return unique_fd(::open(path.c_str(), flags, 0600));
}

void store_trace::select(std::string_view path) {
  path_ = path;
  open();
}

void store_trace::open() {
  file_ = open_file(path_);
  write("\n***\n");
}

bool store_trace::set_switch(std::string_view change) {
  if (change.empty() || (change.front() != '+' && change.front() != '-')) return false;
  const auto name = std::find(switch_names.begin(), switch_names.end(), change.substr(1));
  if (name == switch_names.end()) return false;
  switches_[static_cast<std::size_t>(name - switch_names.begin())] = change.front() == '+';
  return true;
}

std::string store_trace::format_switches() const {
  std::string text = "Log switch settings:\n";
  for (std::size_t i = 0; i < switch_names.size(); ++i)
    text += fmt::format("{:<8}: {}\n", switch_names[i], switches_[i] ? "on" : "off");
  return text;
}

void store_trace::record(store_direction direction, std::uint64_t connection, domid domain,
                         wire::xs_type type, std::string_view payload) const {
  if (!file_ || !switches_[io_switch]) return;
  const auto* label = direction == store_direction::in ? "IN" : "OUT";
  auto line = options_.like_xen_4_20 ? fmt::format("io: {} {:#x} (d{})", label, connection, domain)
                                     : fmt::format("{} {:#x}", label, connection);
  line += fmt::format(" {} {} (", format_time(), upper_case(wire::to_string(type)));
  for (const char letter : payload)
    line.push_back(letter == '\0' ? ' ' : letter);
  line += ")\n";
  write(line);
}

void store_trace::write(std::string_view text) const {
  if (file_) append(file_.get(), text);
}

bool store_trace::write_report(std::optional<std::string_view> path,
                               std::string_view report) const {
  const auto file = open_file(path ? std::string(*path) : path_);
  if (!file) return false;
  append(file.get(), report);
  return true;
}

}  // namespace xenpv::sim
