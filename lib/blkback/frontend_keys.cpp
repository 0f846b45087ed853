#include "blkback/frontend_keys.hpp"

#include <fmt/format.h>

#include <limits>

#include "base/parse.hpp"
#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkback {
namespace {

constexpr std::uint64_t max_number = std::numeric_limits<std::uint32_t>::max();

class key_reader {
 public:
  key_reader(const nodes& directory, std::string_view path, const disk_config& disk)
      : directory_(directory), path_(path), disk_(disk) {}

  result<frontend_keys> read() const;

 private:
  result<void> check_protocol() const;
  result<void> check_sector_size() const;
  result<std::uint32_t> queue_count() const;
  /// Returns ring-page-order, or nullopt if the node is absent, which means one page.
  result<std::optional<unsigned>> page_order() const;
  result<ring_location> queue(const std::string& prefix, std::optional<unsigned> order) const;
  result<std::uint32_t> required(const std::string& name) const;

  error wrong(std::string_view name, std::string_view reason, std::string_view remedy = {}) const {
    return make_error(errc::protocol_violation, fmt::format("{}/{} {}", path_, name, reason),
                      remedy);
  }

  const nodes& directory_;
  std::string_view path_;
  const disk_config& disk_;
};

result<void> key_reader::check_protocol() const {
  const auto protocol = find(directory_, "protocol");
  if (!protocol)
    return wrong("protocol", "is absent, which means x86_32-abi",
                 fmt::format("only {} is supported", wire::blkif_protocol_native));
  if (*protocol != wire::blkif_protocol_native)
    return wrong("protocol", fmt::format("is '{}'", *protocol),
                 fmt::format("only {} is supported", wire::blkif_protocol_native));
  return {};
}

result<void> key_reader::check_sector_size() const {
  if (disk_.sector_size == 512 || !disk_.personality().requires_large_sector_key) return {};
  if (find(directory_, "feature-large-sector-size") == "1") return {};
  return wrong("feature-large-sector-size", "is not 1",
               fmt::format("the disk has sectors of {} bytes", disk_.sector_size));
}

result<std::uint32_t> key_reader::queue_count() const {
  const auto* const name = "multi-queue-num-queues";
  const auto text = find(directory_, name);
  if (!text || !disk_.personality().multi_queue) return 1;
  const auto count = parse_unsigned(*text, name, 1, disk_.max_queues);
  if (!count)
    return wrong(name, fmt::format("is '{}'", *text),
                 fmt::format("expected 1 to {}", disk_.max_queues));
  return static_cast<std::uint32_t>(*count);
}

result<std::optional<unsigned>> key_reader::page_order() const {
  const auto* const name = "ring-page-order";
  const auto text = find(directory_, name);
  if (!text) return std::optional<unsigned>();
  const auto order = parse_unsigned(*text, name, 0, disk_.max_ring_page_order);
  if (!order)
    return wrong(name, fmt::format("is '{}'", *text),
                 fmt::format("expected 0 to {}", disk_.max_ring_page_order));
  return std::optional<unsigned>(static_cast<unsigned>(*order));
}

result<std::uint32_t> key_reader::required(const std::string& name) const {
  const auto text = find(directory_, name);
  if (!text) return wrong(name, "is absent");
  const auto value = parse_unsigned(*text, name, 0, max_number);
  if (!value) return wrong(name, fmt::format("is '{}'", *text), "expected a number");
  return static_cast<std::uint32_t>(*value);
}

result<ring_location> key_reader::queue(const std::string& prefix,
                                        std::optional<unsigned> order) const {
  // With an explicit order of 0, most backends read ring-ref0 and the others read ring-ref.
  const bool numbered = order && (*order > 0 || !disk_.personality().order_zero_reads_ring_ref);
  ring_location out;
  for (unsigned i = 0; i < 1U << order.value_or(0); ++i) {
    const auto name = numbered ? fmt::format("{}ring-ref{}", prefix, i) : prefix + "ring-ref";
    const auto ref = required(name);
    if (!ref) return ref.error();
    out.refs.push_back(grant_ref{*ref});
  }
  const auto channel = required(prefix + "event-channel");
  if (!channel) return channel.error();
  out.event_channel = port{*channel};
  return out;
}

result<frontend_keys> key_reader::read() const {
  if (const auto checked = check_protocol(); !checked) return checked.error();
  if (const auto checked = check_sector_size(); !checked) return checked.error();
  const auto count = queue_count();
  if (!count) return count.error();
  const auto order = page_order();
  if (!order) return order.error();
  frontend_keys out;
  for (std::uint32_t i = 0; i < *count; ++i) {
    auto location = queue(*count == 1 ? "" : fmt::format("queue-{}/", i), *order);
    if (!location) return location.error();
    out.queues.push_back(std::move(*location));
  }
  out.persistent = find(directory_, "feature-persistent") == "1";
  return out;
}

}  // namespace

result<frontend_keys> parse_frontend_keys(const nodes& directory, std::string_view path,
                                          const disk_config& disk) {
  return key_reader(directory, path, disk).read();
}

}  // namespace xenpv::blkback
