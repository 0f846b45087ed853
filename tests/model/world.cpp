#include "model/world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace xenpv::model {

using namespace blkfront;

namespace {

constexpr std::uint64_t limit = 1'000'000;
constexpr std::size_t data_pages = 6;
/// Disk offset of each cell's first byte.
constexpr std::array<std::size_t, cell_count> cell_at = {100, 0, 612, 512};
constexpr std::uint64_t odd_bytes = 100;

constexpr std::array<const char*, 13> step_names = {
    "submit", "send",     "drain",      "deliver", "carry out", "respond",  "fail",
    "lie",    "deadline", "lose power", "close",   "resume",    "reconnect"};

}  // namespace

scripted_request parse_request(const std::string& word) {
  scripted_request out;
  const auto letter = static_cast<char>(std::toupper(word[0]));
  out.queue = letter == word[0] ? 0 : 1;
  const unsigned sector = word.size() > 1 && word[1] == '1' ? 1 : 0;
  const bool both = word.size() > 1 && word[1] == 'B';
  out.offset = std::uint64_t{sector} * sector_size;
  out.length = both ? 2 * sector_size : sector_size;
  out.cells = static_cast<cell_mask>(both ? 0b1111U : 0b11U << 2 * sector);
  switch (letter) {
    case 'R':
      out.kind = request_kind::read;
      break;
    case 'W':
      out.kind = request_kind::write;
      break;
    case 'L':
      out.kind = request_kind::write;
      out.leased = true;
      break;
    case 'A':
      out.kind = request_kind::write;
      out.fua = true;
      break;
    case 'O':
      out.kind = request_kind::write;
      out.offset += cell_at[0];
      out.length = odd_bytes;
      out.cells = static_cast<cell_mask>(1U << 2 * sector);
      break;
    case 'D':
      out.kind = request_kind::discard;
      break;
    default:
      out.kind = request_kind::flush;
      out.offset = out.length = 0;
      out.cells = 0;
  }
  return out;
}

/// One queue of a connection, with its memory and its backend. Sends its engine's messages to other
/// queues.
class world::queue_end final : public engine_host {
 public:
  queue_end(world& owner, std::size_t index)
      : requests(owner.ledger_, index, make_error(errc::lost_connection, "use the disk")),
        owner_(owner),
        index_(index),
        memory_(new (std::align_val_t{page_size}) std::byte[(data_pages + 1) * page_size]) {}

  void connect(bool worse) {
    const std::span all(memory_.get(), (data_pages + 1) * page_size);
    pages = std::make_shared<blk::page_pool>(
        all.subspan(page_size, (worse ? 3 : data_pages) * page_size));
    engine_setup setup{.ring = ring::blkif_front_ring(all.first(page_size)),
                       .data = {pages, {}},
                       .indirect = {},
                       .shape = {},
                       .flush_cache = !worse,
                       .only_queue = owner_.story_.queues == 1,
                       .queue = index_};
    for (std::size_t i = 0; i < pages->size(); ++i)
      setup.data.refs.push_back(grant_ref{static_cast<std::uint32_t>(i)});
    setup.shape.size = std::uint64_t{2} * sector_size;
    setup.shape.can_flush = setup.shape.can_discard = true;
    setup.shape.discard_granularity = sector_size;
    backend.emplace(all.first(page_size), all.subspan(page_size), owner_.disk_);
    requests.connect(std::move(setup), *this);
    wants_send = true;
  }

  void schedule_send() override { wants_send = true; }
  void lock_sector(std::uint64_t sector) override {
    owner_.post(0, [this, sector] { owner_.guard_->lock(index_, sector); });
  }
  void unlock_sector(std::uint64_t sector) override {
    owner_.post(0, [this, sector] { owner_.guard_->unlock(sector); });
  }
  void sector_held(std::uint64_t sector) override {
    owner_.post(0, [this, sector] { owner_.guard_->held(sector); });
  }
  void raise_fences(std::uint64_t id, const stretch& bytes) override {
    auto& other = *owner_.queues_[1 - index_];
    owner_.post(1 - index_, [this, &other, id, bytes] {
      other.requests.ring()->raise_fence(id, bytes);
      owner_.post(index_, [this, id] { requests.ring()->fence_raised(id); });
    });
  }
  void lower_fences(std::uint64_t id) override {
    auto& other = *owner_.queues_[1 - index_];
    owner_.post(1 - index_, [&other, id] { other.requests.ring()->lower_fence(id); });
  }
  void shape_changed() override {}
  void flush_ignored() override {}
  void flush_failed_after_loss() override {}
  void marked_answered(blk::request& r) override {
    requests.answered(r);
    wants_send = true;
  }

  request_queue requests;
  std::shared_ptr<blk::page_pool> pages;
  std::optional<manual_backend> backend;
  std::deque<std::function<void()>> messages;  ///< pending messages to this queue, in order
  bool wants_send = false;

 private:
  struct free_pages {
    void operator()(std::byte* memory) const {
      ::operator delete[](memory, std::align_val_t{page_size});
    }
  };
  world& owner_;
  std::size_t index_;
  std::unique_ptr<std::byte[], free_pages> memory_;
};

struct world::client_request : blk::request {
  world* owner = nullptr;
  std::size_t number = 0;
  scripted_request asked;
  std::array<std::byte, std::size_t{2} * sector_size> bytes{};
  std::optional<blk::lease> lease;
  bool is_answered = false;
};

world::world(const story& scenario) : story_(scenario) {
  for (const auto& word : scenario.script)
    script_.push_back(parse_request(word));
}

world::~world() = default;

void world::reset() {
  oracle_ = {};
  disk_ = {};
  requests_.clear();
  queues_.clear();
  ledger_ = std::make_shared<flush_ledger>(story_.queues);
  for (std::size_t i = 0; i < story_.queues; ++i)
    queues_.push_back(std::make_unique<queue_end>(*this, i));
  submitted_ = 0;
  now_ = 10 * limit;
  connections_ = 0;
  failed_ = false;
  losses_left_ = story_.may_lose_abruptly || story_.may_lose_orderly || story_.may_resume ? 1 : 0;
  deadlines_left_ = story_.deadlines;
  errors_left_ = story_.errors;
  lies_left_ = story_.lies;
  trail_.clear();
  violation_.reset();
  running_ = nowhere;
  connect();
}

void world::connect() {
  guard_.emplace(story_.queues, peer_);
  const bool worse = connections_++ > 0 && story_.worse_backend;
  for (const auto& queue : queues_)
    queue->connect(worse);
  connected_ = true;
  if (!story_.fine) settle();
}

void world::guard_peer::hold(std::size_t queue, std::uint64_t sector) {
  owner.post(queue,
             [this, queue, sector] { owner.queues_[queue]->requests.ring()->hold_sector(sector); });
}

void world::guard_peer::release(std::size_t queue, std::uint64_t sector) {
  owner.post(queue, [this, queue, sector] {
    owner.queues_[queue]->requests.ring()->release_sector(sector);
  });
}

void world::guard_peer::locked(std::size_t queue, std::uint64_t sector) {
  owner.post(queue, [this, queue, sector] {
    owner.queues_[queue]->requests.ring()->sector_locked(sector);
  });
}

/// Like sector_locks, runs `message` immediately on the queue's own thread, and otherwise sends it
/// to the queue. Messages to one queue arrive in order, messages to different queues in any order.
void world::post(std::size_t queue, std::function<void()> message) {
  if (queue == running_)
    message();
  else
    queues_[queue]->messages.push_back(std::move(message));
}

std::optional<std::string> world::run(explorer& choices) {
  reset();
  for (;;) {
    list_steps();
    if (steps_.empty()) break;
    carry_out(steps_[choices.choose(static_cast<unsigned>(steps_.size()))]);
    if (!violation_) check_backends();
    if (violation_) return violation_;
  }
  if (!is_done()) return "requests are unanswered, and no further event is possible";
  return oracle_.check_disk(values());
}

bool world::is_done() const {
  return submitted_ == script_.size() &&
         std::all_of(requests_.begin(), requests_.end(),
                     [](const auto& request) { return request->is_answered; });
}

void world::list_steps() {
  steps_.clear();
  if (!connected_) {
    steps_.push_back({step_kind::reconnect});
    if (submitted_ < script_.size()) steps_.push_back({step_kind::submit});
    return;
  }
  const bool done = is_done();
  if (submitted_ < script_.size()) steps_.push_back({step_kind::submit});
  bool in_flight = false;
  for (std::uint8_t q = 0; q < queues_.size(); ++q) {
    auto& queue = *queues_[q];
    auto* const ring = queue.requests.ring();
    if (story_.fine && !failed_) {
      if (!queue.messages.empty()) steps_.push_back({step_kind::deliver, q});
      if (queue.wants_send) steps_.push_back({step_kind::send, q});
      if (ring->has_responses()) steps_.push_back({step_kind::drain, q});
    }
    const auto& pending = queue.backend->requests();
    in_flight = in_flight || !pending.empty();
    for (std::uint8_t i = 0; i < pending.size(); ++i) {
      const auto op = wire::blkif_op{pending[i].request.operation};
      const bool stays = op == wire::blkif_op::write || op == wire::blkif_op::flush_diskcache;
      // A separate step matters only if the write may still be lost or take effect too late.
      const bool matters = losses_left_ > 0 || failed_;
      if (stays && matters && !pending[i].carried_out)
        steps_.push_back({step_kind::carry_out, q, i});
      if (failed_) continue;
      steps_.push_back({step_kind::respond, q, i});
      if (errors_left_ > 0 && !pending[i].carried_out)
        steps_.push_back({step_kind::respond_error, q, i});
    }
  }
  if (failed_ || done) return;
  if (deadlines_left_ > 0 && in_flight) steps_.push_back({step_kind::deadline});
  if (lies_left_ > 0 && in_flight) steps_.push_back({step_kind::lie});
  if (losses_left_ == 0 || submitted_ == 0) return;
  if (story_.may_lose_abruptly) steps_.push_back({step_kind::lose_abruptly});
  if (story_.may_lose_orderly) steps_.push_back({step_kind::lose_orderly});
  if (story_.may_resume) steps_.push_back({step_kind::resume});
}

void world::carry_out(const step& next) {
  trail_.push_back(fmt::format("{} {}.{}", step_names[static_cast<std::size_t>(next.kind)],
                               next.queue, next.which));
  auto& q = *queues_[next.queue];
  now_ += 10;
  running_ = next.queue;
  switch (next.kind) {
    case step_kind::submit:
      submit();
      break;
    case step_kind::send:
      q.wants_send = false;
      (void)q.requests.send(now_);
      q.backend->take();
      break;
    case step_kind::drain:
      (void)q.requests.ring()->drain(now_);
      q.wants_send = true;
      break;
    case step_kind::deliver: {
      const auto message = std::move(q.messages.front());
      q.messages.pop_front();
      message();
      break;
    }
    case step_kind::carry_out:
      q.backend->carry_out(next.which);
      break;
    case step_kind::respond:
      q.backend->carry_out(next.which);
      q.backend->respond(next.which, 0);
      break;
    case step_kind::respond_error:
      --errors_left_;
      q.backend->respond(next.which, -1);
      break;
    case step_kind::lie:
      --lies_left_;
      q.backend->lie();
      (void)q.requests.ring()->drain(now_);
      failed_ = true;
      // The frontend fails all queues of the device.
      for (const auto& queue : queues_)
        queue->requests.fail(*q.requests.ring()->failure_reason());
      break;
    case step_kind::deadline:
      --deadlines_left_;
      now_ += 2 * limit;
      for (running_ = 0; running_ < queues_.size(); ++running_)
        (void)queues_[running_]->requests.ring()->check_deadlines(now_, limit);
      break;
    case step_kind::lose_abruptly:
      lose(false, true);
      break;
    case step_kind::lose_orderly:
      lose(false, false);
      break;
    case step_kind::resume:
      lose(true, false);
      break;
    case step_kind::reconnect:
      running_ = nowhere;
      return connect();
  }
  running_ = nowhere;
  if (!story_.fine && connected_) settle();
}

void world::submit() {
  const auto& asked = script_[submitted_++];
  auto& r = *requests_.emplace_back(std::make_unique<client_request>());
  r.owner = this;
  r.number = submitted_;
  r.asked = asked;
  r.offset = asked.offset;
  r.length = asked.length;
  r.fua = asked.fua;
  r.done = [](blk::request& done) {
    auto& self = static_cast<client_request&>(done);
    self.owner->answered(self);
  };
  switch (asked.kind) {
    case request_kind::read:
      r.op = blk::operation::read;
      break;
    case request_kind::write:
      r.op = blk::operation::write;
      break;
    case request_kind::discard:
      r.op = blk::operation::discard;
      break;
    case request_kind::flush:
      r.op = blk::operation::flush;
      break;
  }
  auto& q = *queues_[std::min<std::size_t>(asked.queue, queues_.size() - 1)];
  if (asked.kind == request_kind::write || asked.kind == request_kind::read) {
    r.bytes.fill(std::byte{static_cast<unsigned char>(r.number)});
    r.memory = r.bytes.data();
    if (asked.leased && q.pages)
      r.lease = blk::lease::try_take(q.pages, r.offset, r.length, sector_size);
    if (r.lease) {
      r.lease->copy_from(0, std::span(r.bytes).first(r.length));
      r.memory = nullptr;
      r.pages = &*r.lease;
    }
  }
  oracle_.submit(asked.kind, asked.cells, asked.fua);
  if (q.requests.submit(r, now_) == request_queue::fate::refused)
    r.done(r);
  else
    q.wants_send = true;
}

void world::answered(client_request& r) {
  if (std::exchange(r.is_answered, true))
    violation_ = fmt::format("request {} answered twice", r.number);
  oracle_.answer(r.number, static_cast<bool>(r.status));
  r.lease.reset();
  if (r.asked.kind != request_kind::read || r.status) return;
  cell_values seen{};
  for (std::size_t cell = 0; cell < cell_count; ++cell)
    if ((unsigned{r.asked.cells} >> cell & 1U) != 0)
      seen[cell] = static_cast<std::uint8_t>(r.bytes[cell_at[cell] - r.offset]);
  if (auto wrong = oracle_.check_read(r.number, seen))
    violation_ = fmt::format("read {}: {}", r.number, *wrong);
}

void world::lose(bool resumed, bool loses_cache) {
  --losses_left_;
  connected_ = false;
  if (loses_cache) {
    disk_.lose_cache();
  } else {
    disk_.flush();
  }
  for (const auto& queue : queues_) {
    (void)queue->requests.suspend(!resumed, loses_cache, now_);
    queue->pages = nullptr;
    queue->requests.leave_pages();
  }
  for (const auto& queue : queues_)
    queue->messages.clear();
  // Cut the power only after suspend() has consumed the responses, because the completed writes
  // were also in the cache.
  if (loses_cache) oracle_.cut_power();
}

/// Runs all queues until they are idle.
void world::settle() {
  for (bool moved = true; moved && !failed_;) {
    moved = false;
    for (running_ = 0; running_ < queues_.size(); ++running_) {
      auto* const queue = queues_[running_].get();
      while (!queue->messages.empty()) {
        const auto message = std::move(queue->messages.front());
        queue->messages.pop_front();
        message();
        moved = true;
      }
      if (queue->requests.ring()->has_responses()) {
        (void)queue->requests.ring()->drain(now_);
        queue->wants_send = moved = true;
      }
      if (!std::exchange(queue->wants_send, false)) continue;
      (void)queue->requests.send(now_);
      queue->backend->take();
      moved = true;
    }
  }
  running_ = nowhere;
}

void world::check_backends() {
  for (const auto& queue : queues_)
    if (queue->backend->violation()) violation_ = queue->backend->violation();
}

cell_values world::values() const {
  cell_values out{};
  for (std::size_t cell = 0; cell < cell_count; ++cell)
    out[cell] = static_cast<std::uint8_t>(disk_.cache[cell_at[cell]]);
  return out;
}

}  // namespace xenpv::model
