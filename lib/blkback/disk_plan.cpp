#include "blkback/disk_plan.hpp"

#include <fmt/format.h>

#include "base/parse.hpp"

namespace xenpv::blkback {
namespace {

error wrong(std::string_view name, std::string_view value, std::string_view remedy) {
  return make_error(errc::invalid_argument, fmt::format("node {} '{}'", name, value), remedy);
}

/// Reads nodes one at a time and keeps the first error.
class reader {
 public:
  explicit reader(const nodes& directory) : directory_(directory) {}

  [[nodiscard]] std::string_view text(std::string_view name, std::string_view by_default = "") {
    return find(directory_, name).value_or(by_default);
  }
  /// Stores the node's number in `target`, which stays unchanged if the node is absent.
  template <class Number>
  void number(std::string_view name, Number& target, std::uint64_t low, std::uint64_t high) {
    const auto value = find(directory_, name);
    if (!value || error_) return;
    const auto parsed = parse_unsigned(*value, fmt::format("node {}", name), low, high);
    if (parsed)
      target = static_cast<Number>(*parsed);
    else
      error_ = parsed.error();
  }
  /// Like number(), but the value must not exceed `maximum`, the limit of this kind of backend.
  template <class Number>
  void limit(std::string_view name, Number& target, std::uint64_t maximum,
             const personality& personality) {
    const auto before = target;
    number(name, target, 0, ~std::uint64_t{0} >> 32);
    if (error_ || target <= maximum) return;
    fail(wrong(name, text(name),
               fmt::format("a {} backend has at most {}",
                           wire::name_in(wire::backend_kinds, personality.kind), maximum)));
    target = before;
  }
  void flag(std::string_view name, bool& target) { number(name, target, 0, 1); }
  void fail(error problem) {
    if (!error_) error_ = std::move(problem);
  }
  [[nodiscard]] const std::optional<error>& failed() const noexcept { return error_; }

 private:
  const nodes& directory_;
  std::optional<error> error_;
};

constexpr std::uint32_t max_queue_count = 64;
/// Number of segments that fit into BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST pages.
constexpr std::uint32_t max_indirect_count = 4096;

void read_limits(reader& input, disk_config& disk) {
  const auto& personality = disk.personality();
  input.limit("xenpv/max-queues", disk.max_queues, personality.multi_queue ? max_queue_count : 1,
              personality);
  input.limit("xenpv/max-ring-page-order", disk.max_ring_page_order,
              personality.max_ring_page_order, personality);
  input.limit("xenpv/max-indirect-segments", disk.max_indirect_segments,
              personality.max_indirect_segments == 0 ? 0 : max_indirect_count, personality);
  if (disk.max_queues == 0) disk.max_queues = 1;
  // A node can disable a feature, but cannot enable one that this kind of backend lacks.
  const auto off = [&](std::string_view name, bool& feature) {
    bool enabled = true;
    input.flag(name, enabled);
    feature = feature && enabled;
  };
  off("xenpv/persistent", disk.persistent);
  off("xenpv/flush", disk.flush);
  off("xenpv/barrier", disk.barrier);
  off("xenpv/discard", disk.discard);
}

void read_geometry(reader& input, disk_plan& plan) {
  auto& disk = plan.config;
  disk.read_only = input.text("mode", "w") == "r";
  disk.cdrom = input.text("device-type", "disk") == "cdrom";
  input.flag("removable", disk.removable);
  input.number("xenpv/sector-size", disk.sector_size, 512, 4096);
  if (disk.sector_size != 512 && disk.sector_size != 4096)
    input.fail(wrong("xenpv/sector-size", input.text("xenpv/sector-size"), "expected 512 or 4096"));
  disk.physical_sector_size = disk.sector_size;
  input.number("xenpv/size", disk.size, 0, std::uint64_t{1} << 60);
  if (disk.size % disk.sector_size != 0)
    input.fail(wrong("xenpv/size", input.text("xenpv/size"),
                     fmt::format("expected a multiple of {}", disk.sector_size)));
}

void read_store(reader& input, disk_plan& plan) {
  const auto store = input.text("xenpv/store", "file");
  const auto parsed = wire::find_in(wire::disk_stores, store);
  if (!parsed)
    input.fail(wrong("xenpv/store", store,
                     fmt::format("expected {}", wire::join_names(wire::disk_stores))));
  plan.store = parsed.value_or(disk_store::file);
  plan.path = input.text("params");
  plan.medium = input.text("xenpv/medium");
  input.flag("xenpv/volatile-cache", plan.volatile_cache);
  if (plan.volatile_cache && plan.store != disk_store::memory)
    input.fail(wrong("xenpv/volatile-cache", "1", "only a memory disk can have a volatile cache"));
  // A discard erases the data of a memory disk. The data of a file may survive in a copy of the
  // file.
  plan.config.secure_discard = plan.config.discard && plan.store != disk_store::file;
}

}  // namespace

result<disk_plan> parse_disk_plan(const nodes& directory, std::string_view kind,
                                  std::uint32_t queues) {
  reader input(directory);
  const auto name = input.text("xenpv/backend", kind == "qdisk" ? "qemu" : "linux");
  const auto backend = wire::find_in(wire::backend_kinds, name);
  if (!backend)
    return wrong("xenpv/backend", name,
                 fmt::format("expected {}", wire::join_names(wire::backend_kinds)));
  disk_plan plan;
  plan.config = usual_config(personality_of(*backend), 0, queues);
  read_geometry(input, plan);
  read_limits(input, plan.config);
  read_store(input, plan);
  const auto faults = parse_disk_faults(input.text("xenpv/fault"));
  if (!faults) return faults.error();
  plan.faults = *faults;
  if (input.failed()) return *input.failed();
  return plan;
}

result<disk_command> parse_disk_command(std::string_view text) {
  constexpr std::string_view power_cut = "power-cut ";
  if (text == "restart") return disk_command{};
  if (text.starts_with(power_cut)) {
    const auto seed = parse_unsigned(text.substr(power_cut.size()), "seed");
    if (!seed) return seed.error();
    return disk_command{disk_command::verb::power_cut, *seed};
  }
  return wrong("xenpv/command", text, "expected restart or power-cut SEED");
}

}  // namespace xenpv::blkback
