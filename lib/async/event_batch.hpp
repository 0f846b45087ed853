// Postpones work to the end of a batch of events, so that it is done once for all of them: a
// session sends the replies to all requests that a batch completes in one write. Posted work would
// cost an additional poll of the event loop's descriptors.
//
// A batch and its tasks belong to one thread.
#pragma once

#include <functional>
#include <utility>

namespace xenpv::async {

class event_batch;

/// Work for the end of a batch. Owned by the caller.
class batch_task {
 public:
  /// `work` must not throw.
  explicit batch_task(std::function<void()> work) : work_(std::move(work)) {}
  batch_task(const batch_task&) = delete;
  batch_task& operator=(const batch_task&) = delete;
  /// Cancels the work if it has not run yet.
  ~batch_task();

 private:
  friend class event_batch;

  std::function<void()> work_;
  event_batch* batch_ = nullptr;  ///< the batch that will run this task
  batch_task* next_ = nullptr;
};

/// A batch lasts as long as this object; an object within the scope of another one has no effect.
/// The scope must not contain a co_await.
class event_batch {
 public:
  event_batch() noexcept : is_outermost_(current == nullptr) {
    if (is_outermost_) current = this;
  }
  event_batch(const event_batch&) = delete;
  event_batch& operator=(const event_batch&) = delete;
  /// Runs the tasks in the order in which they were added.
  ~event_batch() {
    if (!is_outermost_) return;
    current = nullptr;
    while (first_ != nullptr)
      run_first();
  }

  /// Runs `task` once, at the end of the current batch of this thread. Returns false if there is no
  /// batch or it is already running its tasks.
  [[nodiscard]] static bool add(batch_task& task) noexcept {
    if (current == nullptr) return false;
    if (std::exchange(task.batch_, current) != nullptr) return true;
    task.next_ = nullptr;
    (current->first_ == nullptr ? current->first_ : current->last_->next_) = &task;
    current->last_ = &task;
    return true;
  }

 private:
  friend class batch_task;
  void run_first() noexcept {
    auto& task = *std::exchange(first_, first_->next_);
    task.batch_ = nullptr;
    task.work_();
  }
  void remove(const batch_task& task) noexcept;

  static inline constinit thread_local event_batch* current = nullptr;

  bool is_outermost_;
  batch_task* first_ = nullptr;
  batch_task* last_ = nullptr;
};

inline batch_task::~batch_task() {
  if (batch_ != nullptr) batch_->remove(*this);
}

inline void event_batch::remove(const batch_task& task) noexcept {
  batch_task* before = nullptr;
  for (auto** link = &first_; *link != nullptr; link = &(*link)->next_) {
    if (*link == &task) {
      *link = task.next_;
      if (last_ == &task) last_ = before;
      return;
    }
    before = *link;
  }
}

}  // namespace xenpv::async
