#include "sim/disk_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "base/parse.hpp"

namespace xenpv::sim {
namespace {

constexpr std::uint64_t queues_max = 64;
constexpr std::uint64_t ring_order_max = 4;
/// Number of segments that fit into BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST pages.
constexpr std::uint64_t indirect_max = 4096;

constexpr std::string_view option_list =
    "ro, cdrom, sector=, backend=, type=, queues=, order=, indirect=, no-persistent, no-flush, "
    "no-barrier, no-discard, volatile, vdi or fault=";

constexpr std::string_view command_prefix = "exec:";
constexpr std::size_t type_length_max = 32;

error invalid(std::string_view subject, std::string_view remedy) {
  return make_error(errc::invalid_argument, subject, remedy);
}

result<void> set_flag(disk_spec& disk, std::string_view key) {
  if (key == "ro") disk.read_only = true;
  if (key == "cdrom") disk.cdrom = true;
  if (key == "no-persistent") disk.persistent = false;
  if (key == "no-flush") disk.flush = false;
  if (key == "no-barrier") disk.barrier = false;
  if (key == "no-discard") disk.discard = false;
  if (key == "volatile") disk.volatile_cache = true;
  if (key == "vdi") disk.vdi = true;
  return {};
}

result<void> set_limit(std::optional<std::uint32_t>& limit, std::string_view key,
                       std::string_view value, std::uint64_t low, std::uint64_t high) {
  const auto number = parse_unsigned(value, key, low, high);
  if (!number) return number.error();
  limit = static_cast<std::uint32_t>(*number);
  return {};
}

result<void> set_queues(disk_spec& disk, std::string_view key, std::string_view value) {
  return set_limit(disk.queues, key, value, 1, queues_max);
}

result<void> set_order(disk_spec& disk, std::string_view key, std::string_view value) {
  return set_limit(disk.ring_order, key, value, 0, ring_order_max);
}

result<void> set_indirect(disk_spec& disk, std::string_view key, std::string_view value) {
  return set_limit(disk.indirect, key, value, 0, indirect_max);
}

result<void> set_sector(disk_spec& disk, std::string_view key, std::string_view value) {
  if (value != "512" && value != "4096")
    return invalid(fmt::format("{} '{}'", key, value), "expected 512 or 4096");
  disk.sector_size = value == "512" ? 512 : 4096;
  return {};
}

result<void> set_backend(disk_spec& disk, std::string_view key, std::string_view value) {
  if (value == wire::qemu_backend) {
    disk.server = disk_server::qemu;
    return {};
  }
  if (value.starts_with(command_prefix)) {
    disk.server = disk_server::command;
    disk.command = value.substr(command_prefix.size());
    if (disk.command.empty())
      return invalid(fmt::format("{} '{}'", key, value), "expected a command after exec:");
    return {};
  }
  const auto kind = wire::find_in(wire::backend_kinds, value);
  if (!kind)
    return invalid(
        fmt::format("{} '{}'", key, value),
        fmt::format("expected {}, {} or exec:COMMAND",
                    wire::join_names(wire::backend_kinds, ", ", ", "), wire::qemu_backend));
  disk.backend = *kind;
  return {};
}

/// The type becomes a part of xenstore paths.
result<void> set_type(disk_spec& disk, std::string_view key, std::string_view value) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_";
  if (value.empty() || value.size() > type_length_max ||
      value.find_first_not_of(allowed) != std::string_view::npos)
    return invalid(fmt::format("{} '{}'", key, value),
                   "expected lower-case letters, digits, '-' or '_', such as vbd3");
  disk.command_type = value;
  return {};
}

result<void> set_size(disk_spec& disk, std::string_view key, std::string_view value) {
  const auto size = parse_size(value, key);
  if (!size) return size.error();
  disk.store = key == "memory" ? disk_store::memory : disk_store::null;
  disk.size = *size;
  return {};
}

result<void> set_file(disk_spec& disk, std::string_view key, std::string_view value) {
  if (value.empty()) return invalid(fmt::format("{} ''", key), "expected a path");
  disk.store = disk_store::file;
  disk.path = value;
  return {};
}

result<void> add_fault(disk_spec& disk, std::string_view key, std::string_view value) {
  // The backend splits its list of faults at spaces.
  if (value.empty() || value.find(' ') != std::string_view::npos)
    return invalid(fmt::format("{} '{}'", key, value), "expected one word, such as fault=error=10");
  disk.faults.emplace_back(value);
  return {};
}

struct option {
  std::string_view key;
  bool is_store;
  result<void> (*set)(disk_spec&, std::string_view key, std::string_view value);
};

constexpr std::array known_options = {
    option{"memory", true, set_size},        option{"null", true, set_size},
    option{"file", true, set_file},          option{"sector", false, set_sector},
    option{"backend", false, set_backend},   option{"type", false, set_type},
    option{"queues", false, set_queues},     option{"order", false, set_order},
    option{"indirect", false, set_indirect}, option{"fault", false, add_fault}};

constexpr std::array<std::string_view, 8> known_flags = {
    "ro", "cdrom", "no-persistent", "no-flush", "no-barrier", "no-discard", "volatile", "vdi"};

/// Applies one of the options after the disk name. `seen` contains the keys so far; only `fault`
/// may be repeated.
result<void> apply_option(disk_spec& disk, std::string_view text,
                          std::vector<std::string_view>& seen, bool& has_store) {
  const auto equals = text.find('=');
  const auto key = text.substr(0, equals);
  const bool is_flag = std::find(known_flags.begin(), known_flags.end(), key) != known_flags.end();
  const auto* const match = std::find_if(known_options.begin(), known_options.end(),
                                         [key](const option& known) { return known.key == key; });
  if (!is_flag && match == known_options.end())
    return invalid(fmt::format("option '{}'", text), fmt::format("expected {}", option_list));
  if (is_flag && equals != std::string_view::npos)
    return invalid(fmt::format("option '{}'", text), fmt::format("{} takes no value", key));
  if (!is_flag && equals == std::string_view::npos)
    return invalid(fmt::format("option '{}'", text), fmt::format("expected {}=...", key));
  if (key != "fault" && std::find(seen.begin(), seen.end(), key) != seen.end())
    return invalid(fmt::format("option '{}'", text), fmt::format("{} may be given only once", key));
  seen.push_back(key);
  if (is_flag) return set_flag(disk, key);
  if (match->is_store && std::exchange(has_store, true))
    return invalid(fmt::format("option '{}'", text),
                   "a disk accepts only one of memory=, file= and null=");
  return match->set(disk, key, text.substr(equals + 1));
}

/// The options that select a store or a behaviour of the simulator's own backend.
constexpr std::array<std::string_view, 11> own_options = {
    "memory", "null",          "sector",   "queues",     "order",   "indirect",
    "fault",  "no-persistent", "no-flush", "no-barrier", "volatile"};

std::string_view name_of(disk_server server) noexcept {
  return server == disk_server::qemu ? wire::qemu_backend : wire::command_backend;
}

/// `seen` contains the keys of the disk's options.
result<void> check_server(const disk_spec& disk, const std::vector<std::string_view>& seen) {
  for (const auto key : seen) {
    const bool is_own = std::find(own_options.begin(), own_options.end(), key) != own_options.end();
    if (disk.server != disk_server::simulator && is_own)
      return invalid(fmt::format("option '{}'", key),
                     fmt::format("backend={} does not support it", name_of(disk.server)));
    if (disk.server != disk_server::command && key == "type")
      return invalid("option 'type'", "only backend=exec:COMMAND supports it");
  }
  return {};
}

result<void> check_size(const disk_spec& disk) {
  if (disk.server != disk_server::simulator) return {};
  if (disk.volatile_cache && disk.store != disk_store::memory)
    return invalid("option 'volatile'", "only a memory= disk can be volatile");
  if (disk.store == disk_store::file) return {};
  if (disk.size != 0 && disk.size % disk.sector_size == 0) return {};
  return invalid(fmt::format("size of {} bytes", disk.size),
                 fmt::format("expected a positive multiple of {} bytes", disk.sector_size));
}

}  // namespace

result<disk_spec> parse_disk_spec(std::string_view text) {
  const auto parts = split(text, ',');
  disk_spec disk;
  disk.name = parts.front();
  const auto device = wire::parse_virtual_device(disk.name);
  if (!device) return device.error();
  disk.device = *device;
  bool has_store = false;
  std::vector<std::string_view> seen;
  for (std::size_t i = 1; i < parts.size(); ++i)
    if (const auto done = apply_option(disk, parts[i], seen, has_store); !done) return done.error();
  if (const auto supported = check_server(disk, seen); !supported) return supported.error();
  if (!has_store && disk.server == disk_server::simulator)
    return invalid(fmt::format("disk '{}'", text), "expected memory=SIZE, file=PATH or null=SIZE");
  if (!has_store && disk.server == disk_server::qemu)
    return invalid(fmt::format("disk '{}'", text), "expected file=PATH");
  if (const auto fits = check_size(disk); !fits) return fits.error();
  return disk;
}

result<void> check_disks(std::span<const disk_spec> disks) {
  const auto is_served_by_qemu = [](const disk_spec& disk) {
    return disk.server == disk_server::qemu;
  };
  if (std::none_of(disks.begin(), disks.end(), is_served_by_qemu)) return {};
  for (const auto& disk : disks)
    if (is_served_by_qemu(disk) && disk.read_only && !disk.cdrom)
      return invalid(fmt::format("disk {}", disk.name),
                     "QEMU serves a read-only disk only as a CD-ROM; add 'cdrom'");
  for (const auto& disk : disks)
    if (!is_served_by_qemu(disk) && backend_type(disk) == "qdisk")
      return invalid(fmt::format("disk {}", disk.name),
                     fmt::format("backend={} serves every disk of the type qdisk; choose another "
                                 "backend for this disk",
                                 wire::qemu_backend));
  return {};
}

std::string_view backend_type(const disk_spec& disk) noexcept {
  switch (disk.server) {
    case disk_server::qemu:
      return "qdisk";
    case disk_server::command:
      return disk.command_type.empty() ? std::string_view("vbd") : disk.command_type;
    case disk_server::simulator:
      break;
  }
  return disk.backend == backend_kind::qemu ? "qdisk" : "vbd";
}

}  // namespace xenpv::sim
