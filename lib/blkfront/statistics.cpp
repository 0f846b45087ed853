#include "xenpv/blkfront/statistics.hpp"

namespace xenpv::blkfront {

void queue_statistics::add(const queue_statistics& other) noexcept {
  for (std::size_t i = 0; i < operations.size(); ++i) {
    operations[i].requests += other.operations[i].requests;
    operations[i].bytes += other.operations[i].bytes;
    operations[i].errors += other.operations[i].errors;
    operations[i].latency_ns.add(other.operations[i].latency_ns);
  }
  segments.add(other.segments);
  depth.add(other.depth);
  ring_requests += other.ring_requests;
  indirect_requests += other.indirect_requests;
  notifies_sent += other.notifies_sent;
  notifies_suppressed += other.notifies_suppressed;
  events += other.events;
  spurious_events += other.spurious_events;
  ring_full += other.ring_full;
  pages_short += other.pages_short;
  flushes_merged += other.flushes_merged;
  read_modify_writes += other.read_modify_writes;
  timed_out += other.timed_out;
  answered_late += other.answered_late;
  flushes_ignored += other.flushes_ignored;
  flushes_refused += other.flushes_refused;
  stalls += other.stalls;
  in_flight += other.in_flight;
  queued += other.queued;
  pages += other.pages;
  pages_used += other.pages_used;
  pages_most += other.pages_most;
  ring_entries += other.ring_entries;
  stalled = stalled || other.stalled;
}

}  // namespace xenpv::blkfront
