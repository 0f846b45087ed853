// One client connection, from accept to close, in two parts: option haggling under a time limit,
// including the TLS handshake, on the thread for handshakes; then a session, on the thread of a
// queue. The server moves the connection from one thread to the other.
//
//   negotiate() -> [wait_for_seat()] -> accept_choice() -> detach() -> attach() -> serve()
//
// Used on one thread at a time. Owned by the server, which decides which clients may connect.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "async/signal.hpp"
#include "nbd/client_socket.hpp"
#include "nbd/negotiation.hpp"
#include "nbd/tls_stream.hpp"
#include "nbd/transmission.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/nbd/access_list.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

struct connection_options {
  negotiation_options haggling;
  std::shared_ptr<const tls_credentials> credentials;  ///< required unless `haggling.tls` is off
  std::shared_ptr<const access_list> permissions;      ///< null: all clients may read and write
  std::string listener;                                ///< for client_statistics
  std::chrono::nanoseconds handshake_limit{};
  std::chrono::nanoseconds progress_limit{};
  /// Called on the thread for handshakes when the client has proved an identity that has access.
  std::function<void()> authenticated;
};

/// The outcome of a part of the negotiation.
struct handshake_result {
  enum class ending : std::uint8_t {
    selected,  ///< the client has selected an export
    left,      ///< the client left without having done anything wrong
    failed,    ///< the client or the handshake failed, for `reason`
    cut,       ///< hang_up() was called
  };
  ending end = ending::cut;
  std::string reason{};  ///< for the log
};

/// The answer to a client that waits for a seat.
struct seat_refusal {
  wire::nbd_reply type{};
  std::string text{};
};
struct seat_grant {};
struct client_gone {};
using seat_answer = std::variant<seat_grant, seat_refusal, client_gone>;

class connection final : public std::enable_shared_from_this<connection> {
 public:
  /// Call on the thread of `executor`. Throws `failure` if `socket` is not a socket.
  connection(std::uint64_t number, unique_fd socket, const asio::any_io_executor& executor,
             connection_options options);

  // Call on the thread for handshakes. These functions do not throw. If the result of negotiate()
  // or accept_choice() does not select an export, the connection is closed.

  /// Negotiates until the client selects an export.
  [[nodiscard]] asio::awaitable<handshake_result> negotiate();
  /// Waits for answer_wait(), or for the client to hang up.
  [[nodiscard]] asio::awaitable<seat_answer> wait_for_seat();
  void answer_wait(seat_answer answer);
  /// Accepts the client's selection.
  [[nodiscard]] asio::awaitable<handshake_result> accept_choice();
  /// Refuses the client's selection and closes the connection.
  [[nodiscard]] asio::awaitable<void> refuse_choice(seat_refusal refusal);
  /// Ends the handshake immediately because the server stops: refuses a client that waits for a
  /// seat, answers options that have already arrived, and hangs up.
  void stop_handshake();
  /// Gives up the socket, after the last operation on it. Then call attach() on another thread.
  void detach();

  // Call on the thread of the queue.

  /// Throws `failure` or system_error if the socket cannot be adopted; hang_up() is still allowed.
  /// The objects that `shared` points to must outlive the connection.
  void attach(blk::block_queue& queue, std::size_t queue_index, const export_info& current,
              const shared_resources& shared);
  /// Serves the client until the connection ends. Does not throw. Returns a problem
  /// to report to the administrator; empty if the connection ended as usual.
  [[nodiscard]] asio::awaitable<std::string> serve();
  void drain();
  /// Call for changes of the export that the client uses.
  void reshape(const export_info& info);
  /// Whether the client sent NBD_CMD_DISC. Valid after serve().
  [[nodiscard]] bool disconnect_received() const noexcept {
    return session_ && session_->disconnect_received();
  }
  [[nodiscard]] client_statistics statistics() const;

  // On either thread.

  void hang_up() noexcept;
  /// Valid when an export has been selected: its index in negotiation_options::exports.
  [[nodiscard]] std::size_t export_index() const noexcept { return machine_.agreed().export_index; }
  /// "client 7 (192.0.2.7:41312)"; does not change.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  [[nodiscard]] asio::awaitable<handshake_result> haggle();
  /// Runs `part` under the time limit and turns its errors into a result.
  [[nodiscard]] asio::awaitable<handshake_result> guard(asio::awaitable<handshake_result> part);
  [[nodiscard]] handshake_result result_of(const std::exception_ptr& problem) const;
  [[nodiscard]] handshake_result left() const;
  [[nodiscard]] asio::awaitable<void> start_tls();
  [[nodiscard]] access rights(const tls_identity& identity) const;
  [[nodiscard]] asio::awaitable<void> send(std::string_view bytes);
  [[nodiscard]] asio::awaitable<void> receive();
  [[nodiscard]] asio::awaitable<std::string> transmit();
  [[nodiscard]] asio::awaitable<void> linger();
  [[nodiscard]] std::unique_ptr<transmission> make_session();

  std::uint64_t number_;
  peer_address address_;
  std::string peer_;
  std::string name_;
  std::string listener_;
  std::chrono::steady_clock::time_point since_;
  asio::generic::stream_protocol protocol_;
  std::optional<client_socket> socket_;  ///< set except between detach() and attach()
  unique_fd detached_;                   ///< set between detach() and attach()
  std::unique_ptr<tls_stream> tls_;      ///< uses socket_; set after NBD_OPT_STARTTLS
  bool received_through_tls_ = false;
  bool received_anything_ = false;
  negotiation machine_;
  std::shared_ptr<const tls_credentials> credentials_;
  std::shared_ptr<const access_list> permissions_;
  std::function<void()> authenticated_;
  std::chrono::nanoseconds handshake_limit_;
  std::chrono::nanoseconds progress_limit_;
  std::optional<seat_answer> seat_;
  std::optional<async::signal> seat_answered_;  ///< exists while the client waits for a seat
  bool hung_up_ = false;

  blk::block_queue* queue_ = nullptr;
  std::size_t queue_index_ = 0;
  shared_resources shared_;
  bool draining_ = false;
  std::unique_ptr<transmission> session_;
  std::optional<export_info> current_export_;
};

}  // namespace xenpv::nbd
