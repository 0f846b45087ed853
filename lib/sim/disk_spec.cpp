#include "sim/disk_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "xenpv/base/parse.hpp"

namespace xenpv::sim {
namespace {

constexpr std::uint64_t queues_max = 64;
constexpr std::uint64_t ring_order_max = 4;
/// BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST pages full of segment descriptions.
constexpr std::uint64_t indirect_max = 4096;

constexpr std::string_view option_list =
    "ro, cdrom, sector=, backend=, queues=, order=, indirect=, no-persistent, no-flush, "
    "no-barrier, no-discard, volatile, vdi or fault=";

error wrong(std::string_view what, std::string_view cure) {
  return make_error(errc::invalid_argument, what, cure);
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

result<void> set_limit(std::optional<std::uint32_t>& to, std::string_view key,
                       std::string_view value, std::uint64_t low, std::uint64_t high) {
  const auto number = parse_unsigned(value, key, low, high);
  if (!number) return number.error();
  to = static_cast<std::uint32_t>(*number);
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
    return wrong(fmt::format("{} '{}'", key, value), "expected 512 or 4096");
  disk.sector_size = value == "512" ? 512 : 4096;
  return {};
}

result<void> set_backend(disk_spec& disk, std::string_view key, std::string_view value) {
  using enum disk_backend;
  for (const auto backend : {linux_blkback, qemu, tapdisk, freebsd}) {
    if (to_string(backend) != value) continue;
    disk.backend = backend;
    return {};
  }
  return wrong(fmt::format("{} '{}'", key, value), "expected linux, qemu, tapdisk or freebsd");
}

result<void> set_size(disk_spec& disk, std::string_view key, std::string_view value) {
  const auto size = parse_size(value, key);
  if (!size) return size.error();
  disk.store = key == "memory" ? disk_store::memory : disk_store::null;
  disk.size = *size;
  return {};
}

result<void> set_file(disk_spec& disk, std::string_view key, std::string_view value) {
  if (value.empty()) return wrong(fmt::format("{} ''", key), "expected a path");
  disk.store = disk_store::file;
  disk.path = value;
  return {};
}

result<void> add_fault(disk_spec& disk, std::string_view key, std::string_view value) {
  // Blanks separate the words where the backend reads them.
  if (value.empty() || value.find(' ') != std::string_view::npos)
    return wrong(fmt::format("{} '{}'", key, value), "expected one word, as in fault=error=10");
  disk.faults.emplace_back(value);
  return {};
}

struct option {
  std::string_view key;
  bool is_store;
  result<void> (*set)(disk_spec&, std::string_view key, std::string_view value);
};

constexpr std::array options = {
    option{"memory", true, set_size},      option{"null", true, set_size},
    option{"file", true, set_file},        option{"sector", false, set_sector},
    option{"backend", false, set_backend}, option{"queues", false, set_queues},
    option{"order", false, set_order},     option{"indirect", false, set_indirect},
    option{"fault", false, add_fault}};

constexpr std::array<std::string_view, 8> flags = {
    "ro", "cdrom", "no-persistent", "no-flush", "no-barrier", "no-discard", "volatile", "vdi"};

/// One word after the disk's name. `seen`: the keys so far, of which only `fault` may come twice.
result<void> take_word(disk_spec& disk, std::string_view word, std::vector<std::string_view>& seen,
                       bool& has_store) {
  const auto equals = word.find('=');
  const auto key = word.substr(0, equals);
  const bool is_flag = std::find(flags.begin(), flags.end(), key) != flags.end();
  const auto* const known = std::find_if(options.begin(), options.end(),
                                         [key](const option& each) { return each.key == key; });
  if (!is_flag && known == options.end())
    return wrong(fmt::format("option '{}'", word), fmt::format("expected {}", option_list));
  if (is_flag && equals != std::string_view::npos)
    return wrong(fmt::format("option '{}'", word), fmt::format("{} takes no value", key));
  if (!is_flag && equals == std::string_view::npos)
    return wrong(fmt::format("option '{}'", word), fmt::format("expected {}=...", key));
  if (key != "fault" && std::find(seen.begin(), seen.end(), key) != seen.end())
    return wrong(fmt::format("option '{}'", word), fmt::format("{} is given twice", key));
  seen.push_back(key);
  if (is_flag) return set_flag(disk, key);
  if (known->is_store && std::exchange(has_store, true))
    return wrong(fmt::format("option '{}'", word), "a disk has one of memory=, file= and null=");
  return known->set(disk, key, word.substr(equals + 1));
}

result<void> check_size(const disk_spec& disk) {
  if (disk.volatile_cache && disk.store != disk_store::memory)
    return wrong("option 'volatile'", "only a disk with memory= can have it");
  if (disk.store == disk_store::file) return {};
  if (disk.size != 0 && disk.size % disk.sector_size == 0) return {};
  return wrong(
      fmt::format("size of {} bytes", disk.size),
      fmt::format("expected at least one sector of {} bytes and no part of one", disk.sector_size));
}

}  // namespace

std::string_view to_string(disk_backend backend) noexcept {
  switch (backend) {
    case disk_backend::linux_blkback:
      return "linux";
    case disk_backend::qemu:
      return "qemu";
    case disk_backend::tapdisk:
      return "tapdisk";
    case disk_backend::freebsd:
      return "freebsd";
  }
  return "unknown";
}

result<disk_spec> parse_disk_spec(std::string_view text) {
  const auto words = split(text, ',');
  disk_spec disk;
  disk.name = words.front();
  const auto device = wire::parse_virtual_device(disk.name);
  if (!device) return device.error();
  disk.device = *device;
  bool has_store = false;
  std::vector<std::string_view> seen;
  for (std::size_t i = 1; i < words.size(); ++i)
    if (const auto done = take_word(disk, words[i], seen, has_store); !done) return done.error();
  if (!has_store)
    return wrong(fmt::format("disk '{}'", text), "expected memory=SIZE, file=PATH or null=SIZE");
  if (const auto fits = check_size(disk); !fits) return fits.error();
  return disk;
}

}  // namespace xenpv::sim
