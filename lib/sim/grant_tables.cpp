#include "sim/grant_tables.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

constexpr std::uint32_t memory_pages = 65536;       // per domain, sparse
constexpr std::uint32_t first_ref = 8;              // GNTTAB_NR_RESERVED_ENTRIES
constexpr std::uint32_t max_map_pages = 64 * 1024;  // gntdev limit per call

}  // namespace

grant_tables::grant_tables(shared_state& state, event_channels& events)
    : state_(state), events_(events) {}

void grant_tables::start_domain(std::uint8_t slot) {
  auto& memory = memories_[slot];
  memory = domain_memory{};
  memory.generation = state_.domains[slot].generation.load();
  memory.file.reset(::memfd_create("xenpv-sim-domain", MFD_CLOEXEC));
  if (!memory.file || ::ftruncate(memory.file.get(), off_t{memory_pages} * off_t{page_size}) != 0)
    throw_errno("create the memory of a simulated domain");
  memory.use.resize(memory_pages);
  memory.free_pages.resize(memory_pages);
  std::iota(memory.free_pages.rbegin(), memory.free_pages.rend(), 0U);
  memory.free_refs.resize(max_grants - first_ref);
  std::iota(memory.free_refs.begin(), memory.free_refs.end(), first_ref);
  // In a guest that has run for a while, free references are unordered. A fixed seed keeps runs
  // reproducible.
  std::shuffle(memory.free_refs.begin(), memory.free_refs.end(), std::mt19937(slot + 1U));
  for (auto& entry : state_.domains[slot].grants)
    entry.store(0);
}

void grant_tables::stop_domain(std::uint8_t slot) {
  std::vector<share_id> ids;
  for (const auto& [id, share] : shares_)
    if (share.slot == slot) ids.push_back(id);
  for (const auto id : ids)
    (void)unshare(id);
  for (auto& entry : state_.domains[slot].grants)
    entry.store(0);
  memories_[slot] = domain_memory{};
}

void grant_tables::resume_domain(std::uint8_t slot) {
  for (auto& entry : state_.domains[slot].grants)
    entry.store(0);
}

int grant_tables::memory(std::uint8_t slot) const {
  return memories_[slot].file.get();
}

bool grant_tables::refuses() {
  return refuse_.part != 0 && requests_++ % refuse_.whole < refuse_.part;
}

boost::system::result<grant_tables::share_id, std::errc> grant_tables::share(
    std::uint8_t slot, domid peer, std::uint32_t pages, bool writable, std::uint32_t limit) {
  auto& memory = memories_[slot];
  if (pages == 0) return std::errc::invalid_argument;
  if (shared_page_count(slot) + pages > limit || pages > memory.free_pages.size() ||
      pages > memory.free_refs.size() || refuses())
    return std::errc::no_space_on_device;
  const auto first = next_id_;
  for (std::uint32_t i = 0; i < pages; ++i) {
    const auto page = memory.free_pages.back();
    memory.free_pages.pop_back();
    const auto ref = memory.free_refs.back();
    memory.free_refs.pop_back();
    memory.use[page] = {0, ref, true};
    const grant_table_entry entry{
        static_cast<std::uint8_t>(grant_in_use | (writable ? 0 : grant_read_only)), raw(peer),
        page};
    state_.domains[slot].grants[ref].store(entry.pack(), std::memory_order_release);
    shares_.emplace(next_id_++, share_record{slot, memory.generation, {page, ref}, {}});
  }
  return first;
}

grant_tables::shared_page grant_tables::page(share_id id) const {
  return shares_.at(id).page;
}

void grant_tables::free_page(domain_memory& memory, std::uint8_t slot, std::uint32_t page) {
  // The kernel allocates zeroed pages. A hole reads as zeros and does not occupy memory until it is
  // accessed.
  ::fallocate(memory.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              off_t{page} * off_t{page_size}, off_t{page_size});
  state_.domains[slot].grants[memory.use[page].ref].store(0, std::memory_order_release);
  memory.free_refs.push_back(memory.use[page].ref);
  memory.free_pages.push_back(page);
  memory.use[page] = {};
}

void grant_tables::carry_out(const grant_notice& notice, std::uint8_t slot, int file,
                             std::uint32_t page) {
  if (notice.clear_offset) {
    const char zero = 0;
    [[maybe_unused]] const auto written =
        ::pwrite(file, &zero, 1, off_t{page} * off_t{page_size} + off_t{*notice.clear_offset});
  }
  if (!notice.port) return;
  events_.send_now(slot, *notice.port);
  events_.unpin(slot, *notice.port);
}

std::errc grant_tables::replace_notice(std::uint8_t slot, grant_notice& old,
                                       const grant_notice& notice) {
  if (notice.port && !events_.is_user_port(slot, *notice.port)) return std::errc::invalid_argument;
  if (notice.port) events_.pin(slot, *notice.port);
  if (old.port) events_.unpin(slot, *old.port);
  old = notice;
  return {};
}

std::errc grant_tables::unshare(share_id id) {
  const auto entry = shares_.find(id);
  if (entry == shares_.end()) return std::errc::invalid_argument;
  const auto share = entry->second;
  shares_.erase(entry);
  auto& memory = memories_[share.slot];
  if (memory.generation != share.generation) return {};
  const auto page = share.page.page;
  carry_out(share.notice, share.slot, memory.file.get(), page);
  memory.use[page].shared = false;
  // A grant that is still mapped ends when its last mapping is removed, as a deferred entry does in
  // the kernel.
  if (memory.use[page].mapped == 0) free_page(memory, share.slot, page);
  return {};
}

std::errc grant_tables::set_share_notice(share_id id, const grant_notice& notice) {
  const auto entry = shares_.find(id);
  if (entry == shares_.end()) return std::errc::invalid_argument;
  return replace_notice(entry->second.slot, entry->second.notice, notice);
}

boost::system::result<grant_tables::map_id, std::errc> grant_tables::map(
    std::uint8_t slot, std::span<const foreign_grant> grants, bool writable) {
  if (grants.empty() || grants.size() > max_map_pages) return std::errc::invalid_argument;
  if (refuses()) return std::errc::invalid_argument;
  const auto self = state_.domains[slot].domain.load();
  map_record record{slot, {}, {}, {}};
  for (const auto& grant : grants) {
    const auto owner = events_.find_domain(
        grant.domain == domid_self ? domid{static_cast<std::uint16_t>(self)} : grant.domain);
    // gntdev returns EINVAL for every hypervisor error except "try again".
    if (!owner || grant.ref >= max_grants) return std::errc::invalid_argument;
    const auto entry = grant_table_entry::unpack(state_.domains[*owner].grants[grant.ref].load());
    const bool usable = (entry.flags & grant_in_use) != 0 && entry.grantee == self &&
                        !(writable && (entry.flags & grant_read_only) != 0);
    if (!usable) return std::errc::invalid_argument;
    record.pages.push_back({*owner, entry.page});
    record.generations.push_back(memories_[*owner].generation);
  }
  for (const auto& [owner, page] : record.pages)
    ++memories_[owner].use[page].mapped;
  maps_.emplace(next_id_, std::move(record));
  return next_id_++;
}

std::span<const grant_tables::mapped_page> grant_tables::mapping(map_id id) const {
  return maps_.at(id).pages;
}

std::errc grant_tables::unmap(map_id id) {
  const auto entry = maps_.find(id);
  if (entry == maps_.end()) return std::errc::invalid_argument;
  const auto map = std::move(entry->second);
  maps_.erase(entry);
  const auto notice_page = map.notice.clear_offset.value_or(0) / page_size;
  for (std::size_t i = 0; i < map.pages.size(); ++i) {
    auto& memory = memories_[map.pages[i].slot];
    const auto page = map.pages[i].page;
    const bool alive = memory.generation == map.generations[i];
    if (i == notice_page) {
      auto notice = map.notice;
      if (notice.clear_offset) *notice.clear_offset %= page_size;
      carry_out(notice, map.slot, alive ? memory.file.get() : -1, page);
    }
    // The granting domain was destroyed, and its slot may have been reused, so do not update the
    // map count.
    if (!alive) continue;
    if (--memory.use[page].mapped == 0 && !memory.use[page].shared)
      free_page(memory, map.pages[i].slot, page);
  }
  return {};
}

std::errc grant_tables::set_map_notice(map_id id, const grant_notice& notice) {
  const auto entry = maps_.find(id);
  if (entry == maps_.end() ||
      notice.clear_offset.value_or(0) >= entry->second.pages.size() * page_size)
    return std::errc::invalid_argument;
  return replace_notice(entry->second.slot, entry->second.notice, notice);
}

std::size_t grant_tables::shared_page_count(std::uint8_t slot) const {
  std::size_t count = 0;
  for (const auto& [id, share] : shares_)
    if (share.slot == slot) ++count;
  return count;
}

std::size_t grant_tables::mapped_page_count(std::uint8_t slot) const {
  std::size_t count = 0;
  for (const auto& [id, map] : maps_)
    if (map.slot == slot) count += map.pages.size();
  return count;
}

}  // namespace xenpv::sim
