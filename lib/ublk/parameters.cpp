#include "ublk/parameters.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "xenpv/base/types.hpp"
#include "xenpv/blk/page_pool.hpp"

namespace xenpv::ublk {
namespace {

constexpr std::uint64_t least_transfer = 128U << 10U;
constexpr std::uint64_t most_transfer = 1U << 20U;
/// The pages must suffice for this many requests of the maximum size.
constexpr std::size_t large_requests = 4;
/// The maximum request size, in pages, and the depth are multiples of this number.
constexpr std::size_t page_unit = 8;
constexpr std::size_t least_pages = 32;
constexpr std::uint16_t most_tags = 128;
/// The depth if there are too few pages: each request may then need private memory.
constexpr std::uint16_t tags_with_copies = 32;
constexpr std::uint32_t most_discard_sectors = std::numeric_limits<std::uint32_t>::max() >> 9U;

std::size_t reserve_of(std::size_t pages) {
  return pages < 64 ? 0 : pages / 8;
}

std::uint8_t shift_of(std::uint64_t power) {
  return static_cast<std::uint8_t>(std::bit_width(power) - 1);
}

std::string bytes_text(std::uint64_t bytes) {
  return std::to_string(bytes) + " bytes";
}

param_discard discard_for(const blk::geometry& geometry) {
  constexpr std::uint64_t largest = 1U << 31U;
  param_discard out;
  const auto unit = std::max<std::uint64_t>(geometry.sector_size, sector_bytes);
  const auto granularity = std::clamp(geometry.discard_granularity, unit, largest);
  out.discard_granularity = static_cast<std::uint32_t>(granularity);
  out.discard_alignment = static_cast<std::uint32_t>(geometry.discard_alignment % granularity);
  const auto sectors = static_cast<std::uint32_t>(granularity / sector_bytes);
  out.max_discard_sectors = std::max(most_discard_sectors / sectors * sectors, sectors);
  out.max_discard_segments = 1;
  return out;
}

}  // namespace

bool fits(std::uint64_t bytes, std::size_t pages) noexcept {
  // One more page: the data may begin within a page.
  const auto needed = (bytes + page_size - 1) / page_size + 1;
  const auto reserve = bytes > blk::small_request ? reserve_of(pages) : 0;
  return needed + reserve <= pages;
}

device_plan choose_plan(const blk::geometry& geometry, std::size_t queues,
                        std::size_t pages) noexcept {
  device_plan out;
  out.queues = static_cast<std::uint16_t>(std::clamp<std::size_t>(queues, 1, 4096));
  if (pages < least_pages) {
    out.depth = tags_with_copies;
    out.max_io_bytes = least_transfer;
    out.copies = true;
    return out;
  }
  const auto usable = pages - reserve_of(pages);
  const auto transfer = std::clamp(geometry.preferred_transfer, least_transfer, most_transfer);
  const auto affordable = std::max(usable / large_requests / page_unit, std::size_t{1}) * page_unit;
  const auto wanted = static_cast<std::size_t>(transfer / page_size / page_unit * page_unit);
  out.max_io_bytes = static_cast<std::uint32_t>(std::min(wanted, affordable) * page_size);
  out.depth =
      static_cast<std::uint16_t>(std::min<std::size_t>(usable, most_tags) / page_unit * page_unit);
  return out;
}

result<params> params_for(const blk::geometry& geometry, bool read_only, const device_plan& plan) {
  constexpr auto action = "describe the disk to ublk";
  const std::uint64_t sector = geometry.sector_size;
  if (!std::has_single_bit(sector) || sector < sector_bytes || sector > page_size)
    return make_error(errc::invalid_argument, action,
                      "sectors of " + bytes_text(sector) + "; use --driver nbd");
  if (geometry.size < sector)
    return make_error(errc::invalid_argument, action,
                      "its size is " + bytes_text(geometry.size) + ", less than a sector");
  params out;
  out.len = sizeof out;
  out.types = param_type_basic;
  out.basic.logical_bs_shift = shift_of(sector);
  const auto physical =
      std::clamp<std::uint64_t>(geometry.physical_sector_size, sector, std::uint64_t{1} << 16U);
  out.basic.physical_bs_shift = shift_of(physical);
  out.basic.io_min_shift = out.basic.physical_bs_shift;
  out.basic.io_opt_shift = std::max(shift_of(plan.max_io_bytes), out.basic.physical_bs_shift);
  out.basic.max_sectors = static_cast<std::uint32_t>(plan.max_io_bytes / sector_bytes);
  out.basic.dev_sectors = geometry.size / sector * (sector / sector_bytes);
  const bool is_read_only = read_only || geometry.read_only;
  if (is_read_only) out.basic.attrs |= attr_read_only;
  if (geometry.can_flush && !is_read_only) out.basic.attrs |= attr_volatile_cache | attr_fua;
  if (geometry.can_discard && !is_read_only) {
    out.types |= param_type_discard;
    out.discard = discard_for(geometry);
  }
  return out;
}

result<void> check_features(std::uint64_t features) {
  constexpr auto needed = f_cmd_ioctl_encode | f_user_copy | f_user_recovery_reissue;
  if ((features & needed) == needed) return {};
  return make_error(errc::not_available, "use the kernel's ublk driver",
                    "it is too old; Linux 6.5 or later is needed (or use --driver nbd)");
}

std::uint64_t flags_for(std::uint64_t features, bool keep) noexcept {
  auto out = f_cmd_ioctl_encode | f_user_copy;
  if (keep) out |= f_user_recovery | f_user_recovery_reissue;
  return out | (features & f_update_size);
}

result<device_plan> plan_for_takeover(const dev_info& info, const params& before,
                                      const blk::geometry& geometry, bool read_only,
                                      std::size_t pages) {
  const auto action = "take over /dev/ublkb" + std::to_string(info.dev_id);
  const auto refuse = [&](const std::string& reason) {
    return make_error(errc::invalid_argument, action, reason + "; detach the device first");
  };
  if ((info.flags & f_user_copy) == 0) return refuse("it was not created by xenpv-disk");
  if (info.nr_hw_queues == 0 || info.queue_depth == 0 || info.queue_depth > max_queue_depth ||
      info.max_io_buf_bytes == 0 || info.max_io_buf_bytes > max_io_bytes)
    return refuse("the kernel reports " + std::to_string(info.nr_hw_queues) + " queues of " +
                  std::to_string(info.queue_depth) + " requests of " +
                  bytes_text(info.max_io_buf_bytes));
  const auto sector = std::uint64_t{1} << before.basic.logical_bs_shift;
  if (sector != geometry.sector_size)
    return refuse("it has sectors of " + bytes_text(sector) + ", but the disk has sectors of " +
                  bytes_text(geometry.sector_size));
  const bool was_writable = (before.basic.attrs & attr_read_only) == 0;
  if (was_writable && (read_only || geometry.read_only))
    return refuse("it is writable, but the disk is served read-only");
  const bool had_cache = (before.basic.attrs & attr_volatile_cache) != 0;
  if (was_writable && had_cache && !geometry.can_flush)
    return refuse("it offers flush, but the backend no longer does");
  device_plan out;
  out.queues = info.nr_hw_queues;
  out.depth = info.queue_depth;
  out.max_io_bytes = info.max_io_buf_bytes;
  out.copies = !fits(out.max_io_bytes, pages);
  return out;
}

}  // namespace xenpv::ublk
