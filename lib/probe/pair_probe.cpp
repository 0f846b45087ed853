#include "probe/pair_probe.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

#include "channels/irq_move.hpp"
#include "channels/rates.hpp"
#include "channels/raw_facts.hpp"
#include "probe/pair_run.hpp"
#include "xen/resume_watch.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

/// Renames the calling thread for the lifetime of this object: Linux names a handle's interrupts
/// after the thread that opens the handle.
class thread_name {
 public:
  explicit thread_name(const std::string& name) {
    ::pthread_getname_np(::pthread_self(), before_.data(), before_.size());
    ::pthread_setname_np(::pthread_self(), name.c_str());
  }
  thread_name(const thread_name&) = delete;
  thread_name& operator=(const thread_name&) = delete;
  ~thread_name() { ::pthread_setname_np(::pthread_self(), before_.data()); }

 private:
  std::array<char, 16> before_{};
};

const channels::interrupt_row* row_named(const channels::interrupt_table& table,
                                         const std::string& action) {
  for (const auto& row : table.rows)
    if (row.actions.size() == 1 && row.actions.front() == action) return &row;
  return nullptr;
}

void doubt(pair_result& out, const std::string& reason) {
  if (out.reason.empty()) out.reason = reason;
}

}  // namespace

/// One CPU in one role, with its current port and interrupt.
struct pair_probe::endpoint {
  xen::event_channel_handle handle;
  xen::custodian::kept_id kept;
  unsigned cpu;
  std::string action;
  port local{};
  std::optional<unsigned> irq = {};
};

pair_probe::pair_probe(xen::custodian& custodian, pair_probe_options options)
    : custodian_(custodian),
      options_(std::move(options)),
      resumes_(std::make_unique<xen::resume_watch>()) {}

pair_probe::~pair_probe() {
  if (resumes_->has_resumed()) {
    try {
      abandon();
    } catch (const failure&) {
      // Without a custodian, these handles cannot be preserved.
    }
    return;
  }
  for (auto& [key, entry] : endpoints_) {
    const auto kept = entry->kept;
    entry.reset();
    try {
      custodian_.release(kept);
    } catch (const failure&) {
      // The custodian exited, which closed its duplicates of the handles.
    }
  }
}

pair_probe::endpoint& pair_probe::endpoint_for(char role, unsigned cpu) {
  const auto existing = endpoints_.find({role, cpu});
  if (existing != endpoints_.end()) return *existing->second;
  // At most 15 characters; the process ID distinguishes concurrent measurements.
  const auto name = fmt::format("xp{}{}-{}", role, cpu, ::getpid() % 100000);
  const thread_name guard(name);
  auto handle = xen::event_channel_handle::open();
  handle.set_nonblocking();
  const auto kept = custodian_.keep(handle.descriptor());
  auto created = std::make_unique<endpoint>(
      endpoint{.handle = std::move(handle), .kept = kept, .cpu = cpu, .action = "evtchn:" + name});
  return *endpoints_.emplace(std::pair(role, cpu), std::move(created)).first->second;
}

void pair_probe::place(endpoint& target, const channels::interrupt_table& interrupts,
                       pair_result& out) const {
  target.irq.reset();
  const auto* row = row_named(interrupts, target.action);
  if (row == nullptr)
    return doubt(out, fmt::format("there is no interrupt named {}", target.action));
  target.irq = row->irq;
  const auto moved = channels::move_irq(options_.root, *row->irq, {target.cpu});
  if (moved.error != 0)
    doubt(out, fmt::format("cannot move interrupt {} to CPU {}: {}", *row->irq, target.cpu,
                           channels::describe_refusal(moved)));
}

void pair_probe::check(const endpoint& here, const endpoint& there,
                       const channels::interrupt_table& before, pair_result& out) const {
  const auto after = channels::read_interrupts(options_.root);
  if (!after.value) return doubt(out, after.problem);
  const auto counted = [&](const endpoint& target) {
    const std::array cpus{target.cpu};
    const auto grown = channels::growth_of(before, *after.value, *target.irq, cpus)
                           .value_or(channels::irq_growth{});
    out.counted_elsewhere += grown.elsewhere;
    return grown.there;
  };
  out.counted_there = counted(there);
  out.counted_back = counted(here);
  judge_pair(out);
}

void pair_probe::run(endpoint& here, endpoint& there, pair_result& out) const {
  const pair_run settings{.sender = here.handle,
                          .sender_port = here.local,
                          .sender_cpu = here.cpu,
                          .echo = there.handle,
                          .echo_port = there.local,
                          .echo_cpu = there.cpu,
                          .options = options_};
  // Xen marks a new interdomain port as pending once; that event is not part of a round trip.
  take_event(there.handle, there.local, options_.timeout, false);
  // From here on, every event belongs to a round trip.
  const auto before = channels::read_interrupts(options_.root);
  if (before.value) {
    place(here, *before.value, out);
    place(there, *before.value, out);
  } else {
    doubt(out, before.problem);
  }
  out.expected = std::uint64_t{options_.count} + options_.warm_up;
  run_round_trips(settings, out.round_trips);
  out.verdict = probe_verdict::unverified;
  if (before.value && here.irq && there.irq) check(here, there, *before.value, out);
}

void pair_probe::abandon() {
  custodian_.resumed();
  for (auto& [key, entry] : endpoints_)
    entry->handle.leak();
  endpoints_.clear();
}

void pair_probe::unbind(endpoint& target) {
  if (target.local == port{}) return;
  if (resumes_->has_resumed()) {
    abandon();
    throw failure(errc::resumed, "measure event channels",
                  "the guest was saved and restored during the measurement; start again");
  }
  target.handle.unbind(std::exchange(target.local, port{}));
}

pair_result pair_probe::measure(unsigned from, unsigned to) {
  pair_result out{.from = from, .to = to, .round_trips = {}};
  auto& here = endpoint_for('s', from);
  auto& there = endpoint_for('r', to);
  try {
    here.local = here.handle.bind_unbound(domid_self);
    there.local = there.handle.bind_interdomain(domid_self, here.local);
    run(here, there, out);
  } catch (const failure& problem) {
    out.verdict = probe_verdict::failed;
    out.reason = problem.what();
  }
  unbind(there);
  unbind(here);
  return out;
}

void judge_pair(pair_result& result) {
  if (result.counted_there == result.expected && result.counted_back == result.expected &&
      result.counted_elsewhere == 0) {
    result.verdict = probe_verdict::verified;
    result.reason =
        fmt::format("{} events each way, all counted on the intended CPUs", result.expected);
    return;
  }
  result.verdict = probe_verdict::refuted;
  const auto counts = fmt::format(
      "of {} events each way, CPU {} counted {}, CPU {} counted {}, others {}", result.expected,
      result.to, result.counted_there, result.from, result.counted_back, result.counted_elsewhere);
  result.reason = result.reason.empty() ? counts : counts + "; " + result.reason;
}

}  // namespace xenpv::probe
