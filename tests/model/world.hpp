// The explored device: a client with a script of requests, one or two queues (request_queue: engine
// and journal) with the locks between them, and one backend per queue, which executes and completes
// requests in any order. Each step, including losses and other faults, is a choice.
//
// Uses the real engine, journal and sector guard on plain memory, without threads, xenstore and
// events. Single-threaded.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blkfront/request_queue.hpp"
#include "blkfront/sector_guard.hpp"
#include "model/explorer.hpp"
#include "model/manual_backend.hpp"
#include "model/oracle.hpp"

namespace xenpv::model {

/// One client request: an item of a script such as "W0 O0 F".
struct scripted_request {
  request_kind kind = request_kind::read;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  cell_mask cells = 0;
  bool fua = false;
  bool leased = false;
  std::uint8_t queue = 0;
};
/// R0 R1: read a sector; W0 W1: write a sector; WB: write both sectors; L: write a sector from
/// leased pages; O0 O1: write some bytes of a sector; A0: write a sector with FUA; D0: discard a
/// sector; F: flush. Lower case: on queue 1.
[[nodiscard]] scripted_request parse_request(const std::string& word);

/// The requests, and the maximum number of each kind of other event.
struct story {
  std::vector<std::string> script = {};
  unsigned queues = 1;
  /// Makes sending, consuming responses and each message between queues separate steps.
  bool fine = false;
  unsigned deadlines = 0;
  unsigned errors = 0;  ///< requests that the backend fails
  unsigned lies = 0;
  bool may_lose_abruptly = false;
  bool may_lose_orderly = false;
  bool may_resume = false;
  /// Makes the second backend offer fewer pages and no flush.
  bool worse_backend = false;
};

class world {
 public:
  explicit world(const story& scenario);
  ~world();
  /// Runs one history. Returns the violation, if any.
  [[nodiscard]] std::optional<std::string> run(explorer& choices);
  /// Returns the steps of the last history.
  [[nodiscard]] const std::vector<std::string>& trail() const noexcept { return trail_; }

 private:
  class queue_end;
  struct client_request;
  enum class step_kind : std::uint8_t {
    submit,
    send,
    drain,
    deliver,
    carry_out,
    respond,
    respond_error,
    lie,
    deadline,
    lose_abruptly,
    lose_orderly,
    resume,
    reconnect,
  };
  struct step {
    step_kind kind;
    std::uint8_t queue = 0;
    std::uint8_t which = 0;
  };
  struct guard_peer final : blkfront::sector_guard::peer {
    explicit guard_peer(world& parent) : owner(parent) {}
    void hold(std::size_t queue, std::uint64_t sector) override;
    void release(std::size_t queue, std::uint64_t sector) override;
    void locked(std::size_t queue, std::uint64_t sector) override;
    world& owner;
  };

  void reset();
  void connect();
  void list_steps();
  void carry_out(const step& next);
  void submit();
  void lose(bool resumed, bool loses_cache);
  void settle();
  void answered(client_request& r);
  void check_backends();
  void post(std::size_t queue, std::function<void()> message);
  [[nodiscard]] bool is_done() const;
  [[nodiscard]] cell_values values() const;

  story story_;
  std::vector<scripted_request> script_;
  oracle oracle_;
  manual_disk disk_;
  std::shared_ptr<blkfront::flush_ledger> ledger_;
  std::vector<std::unique_ptr<queue_end>> queues_;
  guard_peer peer_{*this};
  std::optional<blkfront::sector_guard> guard_;
  std::vector<std::unique_ptr<client_request>> requests_;
  std::size_t submitted_ = 0;
  std::uint64_t now_ = 0;
  bool connected_ = false;
  bool failed_ = false;
  unsigned connections_ = 0;
  unsigned losses_left_ = 0;
  unsigned deadlines_left_ = 0;
  unsigned errors_left_ = 0;
  unsigned lies_left_ = 0;
  static constexpr std::size_t nowhere = ~std::size_t{0};
  std::size_t running_ = nowhere;  ///< queue whose thread runs the current step
  std::vector<step> steps_;
  std::vector<std::string> trail_;
  std::optional<std::string> violation_;
};

}  // namespace xenpv::model
