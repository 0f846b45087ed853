#include "blkfront/features.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>

#include "base/parse.hpp"
#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkfront {
namespace {

constexpr std::uint64_t any_number = std::numeric_limits<std::uint64_t>::max();

constexpr std::array<std::string_view, 22> names = {
    "max-ring-page-order",
    "max-ring-pages",
    "multi-queue-max-queues",
    "feature-max-indirect-segments",
    "feature-persistent",
    "feature-flush-cache",
    "feature-barrier",
    "feature-discard",
    "discard-granularity",
    "discard-alignment",
    "discard-secure",
    "sectors",
    "info",
    "sector-size",
    "physical-sector-size",
    "mode",
    "online",
    "hotplug-status",
    "params",
    "removable",
    "sm-data/vdi-uuid",
    "sm-data/scsi/0x12/0x83",
};

std::optional<std::string_view> value_of(const node_map& nodes, std::string_view name) {
  const auto node = nodes.find(name);
  if (node == nodes.end()) return std::nullopt;
  return node->second;
}

template <class Value>
error refuse(std::string_view node, Value value, std::string_view reason) {
  return make_error(errc::protocol_violation, fmt::format("backend node {} '{}'", node, value),
                    reason);
}

/// Returns the number in node `name`, or `absent` if the node does not exist.
result<std::uint64_t> number(const node_map& nodes, std::string_view name, std::uint64_t absent) {
  const auto text = value_of(nodes, name);
  if (!text) return absent;
  const auto value = parse_unsigned(*text, name, 0, any_number);
  if (!value) return refuse(name, *text, "expected a whole number, 0 or more");
  return *value;
}

/// Reads numbers and keeps the first error, so that callers need to check only once.
class number_reader {
 public:
  explicit number_reader(const node_map& nodes) : nodes_(nodes) {}

  std::uint64_t operator()(std::string_view name, std::uint64_t absent = 0) {
    const auto value = number(nodes_, name, absent);
    if (value) return *value;
    if (!problem_) problem_ = value.error();
    return absent;
  }
  [[nodiscard]] const std::optional<error>& problem() const noexcept { return problem_; }

 private:
  const node_map& nodes_;
  std::optional<error> problem_;
};

unsigned bounded(std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  return static_cast<unsigned>(std::clamp(value, low, high));
}

/// Returns the order of the largest ring with at most `pages` pages.
std::uint64_t order_of(std::uint64_t pages) {
  return pages == 0 ? 0 : static_cast<std::uint64_t>(std::bit_width(pages) - 1);
}

/// The unit of the `sectors` node and of the ring, in bytes. blkif.h has required 512 since 2024.
/// QEMU uses its block size for both, and FreeBSD uses its block size for `sectors` only, so the
/// nodes must be used to identify the backend.
result<std::uint32_t> sector_unit(const node_map& nodes, std::string_view kind,
                                  std::uint32_t sector_size) {
  constexpr auto spec = static_cast<std::uint32_t>(wire::blkif_sector_size);
  if (sector_size == spec) return spec;
  if (kind == "qdisk") return sector_size;
  if (nodes.contains("physical-sector-size")) return spec;
  return refuse("sector-size", sector_size,
                "this backend does not publish its sector unit, so any access could use the wrong "
                "sectors; configure 512-byte sectors, or use Linux blkback or QEMU");
}

result<void> check_sector_sizes(std::uint64_t logical, std::uint64_t physical) {
  if (!std::has_single_bit(logical) || logical < 512 || logical > 4096)
    return refuse("sector-size", logical, "expected 512, 1024, 2048 or 4096");
  if (!std::has_single_bit(physical) || physical < logical || physical > (1U << 20))
    return refuse("physical-sector-size", physical,
                  "expected a power of two of at least the sector size");
  return {};
}

void read_discard(number_reader& read, blk::geometry& shape) {
  if (read("feature-discard") == 0) return;
  shape.can_discard = true;
  shape.can_secure_discard = read("discard-secure") != 0;
  shape.discard_granularity =
      std::max<std::uint64_t>(read("discard-granularity", shape.sector_size), shape.sector_size);
  // Alignments that differ by the granularity are equivalent.
  shape.discard_alignment = read("discard-alignment") % shape.discard_granularity;
  // Granules must consist of whole sectors.
  if (shape.discard_granularity % shape.sector_size != 0 ||
      shape.discard_alignment % shape.sector_size != 0) {
    shape.discard_granularity = shape.sector_size;
    shape.discard_alignment = 0;
  }
}

}  // namespace

std::string value_or(const node_map& nodes, std::string_view name, std::string_view absent) {
  return std::string(value_of(nodes, name).value_or(absent));
}

std::span<const std::string_view> backend_nodes() noexcept {
  return names;
}

result<backend_offer> parse_offer(const node_map& nodes) {
  number_reader read(nodes);
  backend_offer offer;
  // FreeBSD publishes both nodes, old backends only max-ring-pages.
  const auto order = read("max-ring-page-order", order_of(read("max-ring-pages")));
  offer.max_ring_page_order = bounded(order, 0, 4);
  offer.max_queues = bounded(read("multi-queue-max-queues", 1), 1, 64);
  const auto segments = read("feature-max-indirect-segments");
  constexpr auto indirect_max =
      wire::blkif_segments_per_indirect_page * wire::blkif_max_indirect_pages_per_request;
  offer.max_indirect_segments = bounded(segments, 0, indirect_max);
  if (read.problem()) return *read.problem();
  return offer;
}

result<backend_properties> parse_properties(const node_map& nodes, std::string_view kind,
                                            std::string_view device_type, unsigned queues) {
  if (!nodes.contains("sectors"))
    return make_error(errc::protocol_violation, "backend node sectors",
                      "missing; a connected backend must publish the disk size");
  number_reader read(nodes);
  backend_properties out;
  auto& shape = out.shape;
  const auto logical = read("sector-size", wire::blkif_sector_size);
  const auto physical = read("physical-sector-size", logical);
  if (const auto fits = check_sector_sizes(logical, physical); !fits) return fits.error();
  shape.sector_size = static_cast<std::uint32_t>(logical);
  shape.physical_sector_size = static_cast<std::uint32_t>(physical);
  const auto unit = sector_unit(nodes, kind, shape.sector_size);
  if (!unit) return unit.error();
  out.unit = *unit;
  const auto sectors = read("sectors");
  // File interfaces use signed 64-bit offsets.
  if (sectors > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / out.unit)
    return refuse("sectors", sectors, "the size exceeds 2^63 - 1 bytes");
  // A partial last sector cannot be read or written.
  shape.size = sectors * out.unit / shape.sector_size * shape.sector_size;

  const auto info = read("info");
  shape.cdrom = (info & wire::vdisk_cdrom) != 0 || device_type == "cdrom";
  shape.removable = (info & wire::vdisk_removable) != 0 || read("removable") != 0;
  const auto mode = value_of(nodes, "mode");
  // As in the backends, any value that contains a 'w' means writable.
  const bool may_write = !mode || mode->find('w') != std::string_view::npos;
  shape.read_only = (info & wire::vdisk_readonly) != 0 || shape.cdrom || !may_write;
  read_discard(read, shape);
  out.flush_cache = read("feature-flush-cache") != 0;
  out.barrier = read("feature-barrier") != 0;
  out.persistent = read("feature-persistent") != 0;
  // blkback treats a flush as a write and fails it on a read-only disk.
  shape.can_flush = !shape.read_only && can_flush(out.flush_cache, out.barrier, queues);
  if (read.problem()) return *read.problem();
  return out;
}

std::string_view backend_kind(std::string_view backend_path) noexcept {
  constexpr std::string_view marker = "/backend/";
  const auto position = backend_path.find(marker);
  if (position == std::string_view::npos) return {};
  const auto rest = backend_path.substr(position + marker.size());
  return rest.substr(0, rest.find('/'));
}

}  // namespace xenpv::blkfront
