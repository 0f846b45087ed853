#include "blkback/engine.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <utility>

namespace xenpv::blkback {
namespace {

using wire::blkif_op;
using wire::blkif_status;

bool is_hit(std::uint32_t every, std::uint64_t count) {
  return every != 0 && count % every == 0;
}

bool is_hit(const ratio& share, std::uint64_t count) {
  return share.part != 0 && (count - 1) % share.whole < share.part;
}

blkif_status status_of(int error) {
  if (error == 0) return blkif_status::okay;
  return error == EOPNOTSUPP ? blkif_status::eopnotsupp : blkif_status::error;
}

}  // namespace

engine::engine(std::span<std::byte> ring, foreign_memory& memory, store& disk,
               const engine_options& options)
    : options_(options),
      personality_(options.disk.personality()),
      unit_shift_(std::countr_zero(options.disk.ring_unit())),
      ring_(ring, personality_.attaches_at_published ? ring::blkif_back_ring::start::at_published
                                                     : ring::blkif_back_ring::start::at_zero),
      memory_(memory),
      store_(disk),
      slots_(ring_.size()) {
  for (auto& s : slots_) {
    s.owner = this;
    s.done = &engine::done;
    give_back(s);
  }
  const auto segments = std::max<std::size_t>(options_.disk.max_indirect_segments,
                                              wire::blkif_max_segments_per_request);
  descriptors_.reserve(segments);
  refs_.reserve(segments);
  pages_.resize(segments);
  missing_pages_.resize(segments);
}

engine::~engine() {
  assert(in_store() == 0);
  for (const auto mapping : persistent_mappings_)
    memory_.unmap(mapping);
}

engine::slot& engine::take_slot() noexcept {
  return *std::exchange(free_, free_->next_free);
}

void engine::give_back(slot& s) noexcept {
  s.next_free = free_;
  free_ = &s;
}

void engine::set_faults(const disk_faults& faults) {
  carry_out(late_.size());
  faults_ = faults;
  fault_requests_ = 0;
  fault_responses_ = 0;
  fault_emitted_ = 0;
  fault_writes_ = 0;
}

bool engine::is_spent(const std::optional<std::uint32_t>& allowance) const noexcept {
  return allowance && fault_requests_ >= *allowance;
}

bool engine::is_blocked() const noexcept {
  return vanished_ || halted_ || stopped_ || draining_ != nullptr || free_ == nullptr ||
         is_spent(faults_.stall_after) || is_spent(faults_.vanish_after);
}

std::uint32_t engine::take_batch(std::uint32_t limit) {
  if (is_blocked()) return 0;
  const auto available = ring_.available();
  if (!available) {
    halted_ = true;
    return 0;
  }
  std::uint32_t taken = 0;
  for (const auto count = std::min(*available, limit); taken < count && !is_blocked(); ++taken) {
    ++fault_requests_;
    dispatch(ring_.take());
  }
  return taken;
}

engine::outcome engine::run(std::uint32_t budget) {
  outcome out;
  woken_ = false;
  running_ = true;
  for (;;) {
    const auto taken = take_batch(budget);
    budget -= taken;
    out.notify |= publish();
    vanished_ |= is_spent(faults_.vanish_after);
    // The engine requests another run() when it is unblocked.
    if (is_blocked()) break;
    out.more = budget == 0;
    if (out.more || (taken == 0 && ring_.arm())) break;
  }
  running_ = false;
  return out;
}

bool engine::release(std::size_t count) {
  for (; count > 0 && !held_.empty(); --count) {
    pass_on(held_.front());
    held_.pop_front();
  }
  return publish();
}

void engine::start(slot& s) noexcept {
  ++in_store_;
  const bool changes_data = s.op != store_op::read && s.op != store_op::flush;
  if (!stopped_ && changes_data && is_hit(faults_.late, ++fault_writes_))
    late_.push_back(&s);
  else
    store_.submit(s);
}

void engine::carry_out(std::size_t count) noexcept {
  for (; count > 0 && !late_.empty(); --count) {
    auto& s = *late_.front();
    late_.pop_front();
    store_.submit(s);
  }
}

void engine::done(store_request& request, int error) noexcept {
  auto& s = static_cast<slot&>(request);
  s.owner->complete(s, error);
}

void engine::complete(slot& s, int error) noexcept {
  --in_store_;
  if (std::exchange(s.write_next, false) && error == 0) {
    s.op = store_op::write;
    start(s);
    return;
  }
  answer(s, error);
  if (draining_ != nullptr && in_store_ == 0) start(*std::exchange(draining_, nullptr));
}

void engine::answer(slot& s, int error) noexcept {
  if (error == 0 && s.op == store_op::read && !s.copies.empty() && !memory_.copy_to(s.copies))
    error = EFAULT;
  release_pages(s.pages);
  const auto id = s.id;
  const auto operation = s.operation;
  give_back(s);
  respond(id, operation, status_of(error));
}

void engine::respond(std::uint64_t id, blkif_op operation, blkif_status status) {
  if (vanished_) return;
  ++statistics_.responses;
  if (status != blkif_status::okay) ++statistics_.failed;
  wire::blkif_response response{};
  response.id = id;
  response.operation = static_cast<std::uint8_t>(operation);
  response.status = static_cast<std::int16_t>(status);
  ++fault_responses_;
  if (is_hit(faults_.delayed, fault_responses_))
    held_.push_back(response);
  else
    pass_on(response);
  if (!running_ && !std::exchange(woken_, true) && wake_) wake_();
}

void engine::pass_on(const wire::blkif_response& response) {
  if (faults_.reorder)
    batch_.push_back(response);
  else
    emit(response);
}

void engine::emit(wire::blkif_response response) {
  constexpr std::uint64_t bad_id_mask = 0xDEAD'BEEF'0BAD'1D00;
  const auto count = ++fault_emitted_;
  unpublished_ = true;
  if (is_hit(faults_.bad_id_every, count)) response.id ^= bad_id_mask;
  if (is_hit(faults_.wrong_operation_every, count)) response.operation ^= 1;
  ring_.put(response);
  if (is_hit(faults_.answer_twice_every, count)) ring_.put(response);
  if (is_hit(faults_.producer_jump_every, count)) ring_.jump(ring_.size() + 1);
}

bool engine::publish() {
  if (vanished_) return false;
  for (auto last = batch_.rbegin(); last != batch_.rend(); ++last)
    emit(*last);
  batch_.clear();
  if (!std::exchange(unpublished_, false)) return false;
  ++statistics_.batches;
  const bool due = ring_.publish();
  if (due) ++statistics_.events_due;
  return due;
}

}  // namespace xenpv::blkback
