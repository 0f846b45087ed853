#include "blkback/disk_plan.hpp"

#include <fmt/format.h>

#include "xenpv/base/parse.hpp"

namespace xenpv::blkback {
namespace {

error wrong(std::string_view name, std::string_view value, std::string_view cure) {
  return make_error(errc::invalid_argument, fmt::format("node {} '{}'", name, value), cure);
}

/// Reads single nodes; the first error sticks.
class reader {
 public:
  explicit reader(const nodes& from) : from_(from) {}

  [[nodiscard]] std::string_view text(std::string_view name, std::string_view by_default = "") {
    return find(from_, name).value_or(by_default);
  }
  /// A number, or `by_default`.
  template <class Number>
  void number(std::string_view name, Number& into, std::uint64_t low, std::uint64_t high) {
    const auto value = find(from_, name);
    if (!value || error_) return;
    const auto parsed = parse_unsigned(*value, fmt::format("node {}", name), low, high);
    if (parsed)
      into = static_cast<Number>(*parsed);
    else
      error_ = parsed.error();
  }
  /// A number that this kind of backend may only have up to `most`.
  template <class Number>
  void limit(std::string_view name, Number& into, std::uint64_t most, const personality& habits) {
    const auto before = into;
    number(name, into, 0, ~std::uint64_t{0} >> 32);
    if (error_ || into <= most) return;
    fail(wrong(name, text(name), fmt::format("a {} backend has at most {}", habits.name, most)));
    into = before;
  }
  void flag(std::string_view name, bool& into) { number(name, into, 0, 1); }
  void fail(error what) {
    if (!error_) error_ = std::move(what);
  }
  [[nodiscard]] const std::optional<error>& failed() const noexcept { return error_; }

 private:
  const nodes& from_;
  std::optional<error> error_;
};

constexpr std::uint32_t queues_most = 64;
/// BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST pages full of segments.
constexpr std::uint32_t indirect_most = 4096;

void read_limits(reader& from, disk_config& disk) {
  const auto& habits = disk.habits();
  from.limit("xenpv/max-queues", disk.max_queues, habits.multi_queue ? queues_most : 1, habits);
  from.limit("xenpv/max-ring-page-order", disk.max_ring_page_order, habits.max_ring_page_order,
             habits);
  from.limit("xenpv/max-indirect-segments", disk.max_indirect_segments,
             habits.max_indirect_segments == 0 ? 0 : indirect_most, habits);
  if (disk.max_queues == 0) disk.max_queues = 1;
  // What a kind does not have cannot be switched on, only off.
  const auto off = [&](std::string_view name, bool& feature) {
    bool wanted = true;
    from.flag(name, wanted);
    feature = feature && wanted;
  };
  off("xenpv/persistent", disk.persistent);
  off("xenpv/flush", disk.flush);
  off("xenpv/barrier", disk.barrier);
  off("xenpv/discard", disk.discard);
}

void read_geometry(reader& from, disk_plan& plan) {
  auto& disk = plan.config;
  disk.read_only = from.text("mode", "w") == "r";
  disk.cdrom = from.text("device-type", "disk") == "cdrom";
  from.flag("removable", disk.removable);
  from.number("xenpv/sector-size", disk.sector_size, 512, 4096);
  if (disk.sector_size != 512 && disk.sector_size != 4096)
    from.fail(wrong("xenpv/sector-size", from.text("xenpv/sector-size"), "expected 512 or 4096"));
  disk.physical_sector_size = disk.sector_size;
  from.number("xenpv/size", disk.size, 0, std::uint64_t{1} << 60);
  if (disk.size % disk.sector_size != 0)
    from.fail(wrong("xenpv/size", from.text("xenpv/size"),
                    fmt::format("expected a multiple of {}", disk.sector_size)));
}

void read_store(reader& from, disk_plan& plan) {
  const auto store = from.text("xenpv/store", "file");
  if (store == "memory") plan.store = store_kind::memory;
  if (store == "null") plan.store = store_kind::null;
  if (store != "memory" && store != "null" && store != "file")
    from.fail(wrong("xenpv/store", store, "expected memory, file or null"));
  plan.path = from.text("params");
  plan.medium = from.text("xenpv/medium");
  from.flag("xenpv/volatile-cache", plan.volatile_cache);
  if (plan.volatile_cache && plan.store != store_kind::memory)
    from.fail(wrong("xenpv/volatile-cache", "1", "only a memory disk can have one"));
  // A memory disk's bytes are gone for good; a file's may live on in a copy of it.
  plan.config.secure_discard = plan.config.discard && plan.store != store_kind::file;
}

}  // namespace

result<disk_plan> parse_disk_plan(const nodes& directory, std::string_view kind,
                                  std::uint32_t queues) {
  reader from(directory);
  const auto name = from.text("xenpv/backend", kind == "qdisk" ? "qemu" : "linux");
  const auto backend = parse_backend_kind(name);
  if (!backend) return wrong("xenpv/backend", name, "expected linux, qemu, tapdisk or freebsd");
  disk_plan plan;
  plan.config = usual_config(personality_of(*backend), 0, queues);
  read_geometry(from, plan);
  read_limits(from, plan.config);
  read_store(from, plan);
  const auto faults = parse_disk_faults(from.text("xenpv/fault"));
  if (!faults) return faults.error();
  plan.faults = *faults;
  if (from.failed()) return *from.failed();
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
