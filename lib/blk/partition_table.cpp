#include "blk/partition_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace xenpv::blk {
namespace {

constexpr unsigned first_logical = 5;

/// "1-4, 6".
std::string list_numbers(const std::vector<partition>& partitions) {
  std::string out;
  for (std::size_t i = 0; i < partitions.size();) {
    auto last = i;
    while (last + 1 < partitions.size() &&
           partitions[last + 1].number == partitions[last].number + 1)
      ++last;
    if (!out.empty()) out += ", ";
    out += fmt::format("{}", partitions[i].number);
    if (last > i) out += fmt::format("-{}", partitions[last].number);
    i = last + 1;
  }
  return out;
}

void report_overlap(partition_table& table, partition& one, const partition& other) {
  if (!one.problem.empty()) return;
  if (table.kind == partition_table_kind::gpt || one.number >= first_logical) {
    one.problem = fmt::format("it overlaps partition {}", other.number);
    return;
  }
  table.warnings.push_back(
      fmt::format("partition {} overlaps partition {}", one.number, other.number));
}

}  // namespace

std::string_view to_string(partition_table_kind kind) noexcept {
  return kind == partition_table_kind::gpt ? "GPT" : "MBR";
}

result<partition> partition_table::find(unsigned number) const {
  const auto found = std::find_if(partitions.begin(), partitions.end(),
                                  [&](const auto& one) { return one.number == number; });
  if (found == partitions.end()) {
    const auto existing = partitions.empty()
                              ? fmt::format("the {} has no partitions", to_string(kind))
                              : fmt::format("the {} has these partitions: {}", to_string(kind),
                                            list_numbers(partitions));
    return error{std::make_error_code(std::errc::no_such_device_or_address),
                 fmt::format("cannot find partition {}: {}", number, existing)};
  }
  if (!found->problem.empty()) {
    return error{std::error_code(EUCLEAN, std::generic_category()),
                 fmt::format("cannot use partition {}: {}", number, found->problem)};
  }
  return *found;
}

void mark_overlaps(partition_table& table) {
  std::vector<partition*> order;
  for (auto& one : table.partitions)
    if (one.problem.empty()) order.push_back(&one);
  std::sort(order.begin(), order.end(), [](const auto* left, const auto* right) {
    return std::pair(left->offset, left->number) < std::pair(right->offset, right->number);
  });
  partition* last = nullptr;  // the one of those seen so far that ends last
  for (auto* one : order) {
    if (last != nullptr && one->offset < last->offset + last->size) {
      report_overlap(table, *one, *last);
      if (table.kind == partition_table_kind::gpt || last->number >= first_logical)
        report_overlap(table, *last, *one);
    }
    if (last == nullptr || one->offset + one->size > last->offset + last->size) last = one;
  }
}

}  // namespace xenpv::blk
