#include "xenpv/diag/pair_probe.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "diag/pair_run.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/diag/irq_move.hpp"
#include "xenpv/diag/rates.hpp"
#include "xenpv/diag/readings.hpp"
#include "xenpv/xen/resume_watch.hpp"

namespace xenpv::diag {
namespace {

/// Sets the calling thread's name for as long as it lives: Linux names the interrupts of a handle
/// after the thread that opens it.
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

const interrupt_row* row_named(const interrupt_table& table, const std::string& action) {
  const auto at = std::find_if(table.rows.begin(), table.rows.end(), [&](const interrupt_row& row) {
    return row.actions.size() == 1 && row.actions.front() == action;
  });
  return at == table.rows.end() ? nullptr : &*at;
}

void doubt(pair_result& out, const std::string& reason) {
  if (out.reason.empty()) out.reason = reason;
}

}  // namespace

/// One CPU in one role: the port of the moment and what is known of its interrupt.
struct pair_probe::end {
  end(xen::event_channel_handle opened, xen::custodian::kept_id id, unsigned at, std::string called)
      : handle(std::move(opened)), kept(id), cpu(at), action(std::move(called)) {}

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
      // Without a custodian nobody can help these handles.
    }
    return;
  }
  for (auto& [key, each] : ends_) {
    const auto kept = each->kept;
    each.reset();
    try {
      custodian_.release(kept);
    } catch (const failure&) {
      // The custodian is gone, and its duplicates with it.
    }
  }
}

pair_probe::end& pair_probe::end_for(char role, unsigned cpu) {
  const auto found = ends_.find({role, cpu});
  if (found != ends_.end()) return *found->second;
  // At most 15 characters; the process number keeps two measurements apart.
  const auto name = fmt::format("xp{}{}-{}", role, cpu, ::getpid() % 100000);
  const thread_name as(name);
  auto handle = xen::event_channel_handle::open();
  handle.set_nonblocking();
  const auto kept = custodian_.keep(handle.descriptor());
  auto fresh = std::make_unique<end>(std::move(handle), kept, cpu, "evtchn:" + name);
  return *ends_.emplace(std::pair(role, cpu), std::move(fresh)).first->second;
}

void pair_probe::place(end& at, const interrupt_table& interrupts, pair_result& out) const {
  at.irq.reset();
  const auto* row = row_named(interrupts, at.action);
  if (row == nullptr) return doubt(out, fmt::format("no interrupt is called {}", at.action));
  at.irq = row->irq;
  const auto moved = move_irq(options_.root, *row->irq, {at.cpu});
  if (moved.error != 0)
    doubt(out, fmt::format("interrupt {} could not be moved to CPU {}: {}", *row->irq, at.cpu,
                           describe_refusal(moved.error, *row->irq)));
}

void pair_probe::check(const end& here, const end& there, const interrupt_table& before,
                       pair_result& out) const {
  const auto after = read_interrupts(options_.root);
  if (!after.value) return doubt(out, after.problem);
  const auto counted = [&](const end& at) {
    const std::array cpus{at.cpu};
    const auto grown = growth_of(before, *after.value, *at.irq, cpus).value_or(irq_growth{});
    out.counted_elsewhere += grown.elsewhere;
    return grown.there;
  };
  out.counted_there = counted(there);
  out.counted_back = counted(here);
  judge_pair(out);
}

void pair_probe::run(end& here, end& there, pair_result& out) const {
  const pair_run how{.sender = here.handle,
                     .sender_port = here.local,
                     .sender_cpu = here.cpu,
                     .echo = there.handle,
                     .echo_port = there.local,
                     .echo_cpu = there.cpu,
                     .count = options_.count,
                     .warm_up = options_.warm_up,
                     .spin = options_.spin,
                     .fifo_priority = options_.fifo_priority,
                     .patience = options_.patience};
  // Xen makes a fresh interdomain port pending once: that event is nobody's.
  take_event(there.handle, there.local, options_.patience, false);
  // From here on every event is a round trip's.
  const auto before = read_interrupts(options_.root);
  if (before.value) {
    place(here, *before.value, out);
    place(there, *before.value, out);
  } else {
    doubt(out, before.problem);
  }
  out.expected = std::uint64_t{options_.count} + options_.warm_up;
  run_round_trips(how, out.round_trips);
  out.verdict = probe_verdict::unverified;
  if (before.value && here.irq && there.irq) check(here, there, *before.value, out);
}

void pair_probe::abandon() {
  custodian_.resumed();
  for (auto& [key, each] : ends_)
    each->handle.leak();
  ends_.clear();
}

void pair_probe::let_go(end& at) {
  if (at.local == port{}) return;
  if (resumes_->has_resumed()) {
    abandon();
    throw failure(errc::resumed, "measure event channels",
                  "the guest was saved and restored meanwhile; start again");
  }
  at.handle.unbind(std::exchange(at.local, port{}));
}

pair_result pair_probe::measure(unsigned from, unsigned to) {
  pair_result out{.from = from, .to = to, .round_trips = {}};
  auto& here = end_for('s', from);
  auto& there = end_for('r', to);
  try {
    here.local = here.handle.bind_unbound(domid_self);
    there.local = there.handle.bind_interdomain(domid_self, here.local);
    run(here, there, out);
  } catch (const failure& problem) {
    out.verdict = probe_verdict::failed;
    out.reason = problem.what();
  }
  let_go(there);
  let_go(here);
  return out;
}

void judge_pair(pair_result& out) {
  if (out.counted_there == out.expected && out.counted_back == out.expected &&
      out.counted_elsewhere == 0) {
    out.verdict = probe_verdict::verified;
    out.reason =
        fmt::format("{} events each way, all counted where they were meant to be", out.expected);
    return;
  }
  out.verdict = probe_verdict::refuted;
  const auto counts = fmt::format(
      "of {} events each way, CPU {} counted {}, CPU {} counted {}, others {}", out.expected,
      out.to, out.counted_there, out.from, out.counted_back, out.counted_elsewhere);
  out.reason = out.reason.empty() ? counts : counts + "; " + out.reason;
}

}  // namespace xenpv::diag
