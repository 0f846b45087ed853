// The server side of option haggling, as a state machine without I/O: receives the client's bytes
// and returns the next step. Implements fixed newstyle. The owner enforces time limits, decides
// the client's rights, and admits it.
//
//   greeting -> client flags -> options ... -> admission -> transmission | close
//                                  ^    |         |
//                                  |    |         | refuse()
//                                  |    +---------+
//                                  +----+ NBD_OPT_STARTTLS, TLS handshake, tls_started()
//
// The owner calls next() until it returns read_more, then reads bytes and passes them to feed().
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/codec.hpp"
#include "nbd/negotiation_option.hpp"
#include "xenpv/nbd/access_list.hpp"
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::nbd {

struct negotiation_options {
  /// The exports offered on this connection; unaffected by later changes of the device. Each must
  /// have passed validate().
  std::vector<export_info> exports;
  /// Name of the export that a client selects with the empty name. If `default_export` is empty,
  /// the empty name selects only an export with an empty name.
  std::string default_export;
  tls_mode tls = tls_mode::off;
  /// The client's rights without TLS. `none`: it may only start TLS.
  access rights = access::read_write;
  bool structured_replies = true;  ///< offer structured replies and extended headers
  /// Skips the negotiation: the first export has been agreed on, and the client starts with a
  /// request. Uses simple replies.
  bool agreed_beforehand = false;
};

/// Maximum length of option data: enough for an export name and its information requests.
inline constexpr std::uint32_t largest_option = 64U << 10U;
/// Maximum number of options from a client. The first NBD_OPT_LIST adds the same number for each
/// export.
inline constexpr std::size_t most_options = 32;

/// The result of the negotiation.
struct agreement {
  std::size_t export_index = 0;  ///< index into negotiation_options::exports
  bool structured = false;       ///< replies in chunks
  bool extended = false;         ///< extended headers; implies `structured`

  [[nodiscard]] session_terms terms() const noexcept { return {structured, extended}; }
};

struct negotiation_step {
  enum class action : std::uint8_t {
    read_more,  ///< read at least one byte and pass it to feed()
    send,       ///< send `bytes`, a complete reply, with a single write
    start_tls,  ///< do the TLS handshake, then call tls_started(); disconnect on failure
    admit,      ///< the client has chosen agreed_export(): call admit() or refuse()
    transmit,   ///< see agreed() and rest()
    close,      ///< close the connection; final
  };
  action what = action::read_more;
  std::string bytes{};
  /// The reason for closing, for the log. Client data in the reason is sanitised to valid UTF-8.
  std::string reason{};
  /// True if the client violated the protocol or a limit. False if the client ended the negotiation
  /// or if closing is the only way to refuse the client's request.
  bool is_violation = false;
};

class negotiation {
 public:
  explicit negotiation(negotiation_options options);

  /// Accepts bytes from the client. Call only after read_more.
  void feed(std::span<const std::byte> bytes);
  [[nodiscard]] negotiation_step next();

  /// Call after the TLS handshake: all further bytes come through TLS. Discards all earlier
  /// agreements. `rights`: the client's rights after the handshake.
  void tls_started(access rights = access::read_write);
  /// Answers the client's choice of an export: the transmission begins.
  void admit();
  /// Refuses the client's choice with an error reply. The client may try again, unless it used
  /// NBD_OPT_EXPORT_NAME, which cannot be refused without disconnecting.
  void refuse(wire::nbd_reply type, std::string_view text);
  /// After this call, answers all options but NBD_OPT_ABORT with NBD_REP_ERR_SHUTDOWN.
  void shut_down() noexcept { shutting_down_ = true; }

  /// Valid after admit and transmit.
  [[nodiscard]] const agreement& agreed() const noexcept { return agreed_; }
  /// Read-only if the client has no right to write.
  [[nodiscard]] const export_info& agreed_export() const noexcept { return agreed_export_; }
  /// The last refusal that the client should not have caused, for the log, if the client left
  /// afterwards; empty if there was none. Safe to display.
  [[nodiscard]] const std::string& last_refusal() const noexcept { return last_refusal_; }
  /// Valid after transmit: the bytes received after the last option, which are the client's first
  /// requests.
  [[nodiscard]] std::span<const std::byte> rest() const noexcept;

 private:
  using action = negotiation_step::action;
  enum class phase : std::uint8_t {
    greeting,
    flags,
    options,
    tls,
    admission,
    transmission,
    closed
  };

  /// Returns the bytes not yet consumed.
  [[nodiscard]] std::string_view input() const noexcept;
  /// take_flags() and take_option() return false if more bytes are needed.
  bool take_flags();
  bool take_option();

  void answer(const option_message& option);
  void answer_export_name(std::string_view name);
  void answer_list(const option_message& option);
  void answer_info(const option_message& option);
  void answer_starttls(const option_message& option);
  void answer_structured_reply(const option_message& option);
  void answer_extended_headers(const option_message& option);

  [[nodiscard]] const export_info* find(std::string_view name) const noexcept;
  /// Returns the export as this client may use it.
  [[nodiscard]] export_info offer(export_info exported) const;
  /// The reason why an option must currently be refused; null if it is acceptable.
  struct obstacle;
  [[nodiscard]] const obstacle* obstacle_to(wire::nbd_option option) const noexcept;
  void ack(const option_message& option);
  void refuse(const option_message& option, wire::nbd_reply type, std::string_view text);
  void refuse_name(const option_message& option, std::string_view name);
  void refuse_unavailable(const option_message& option, const export_info& chosen);
  /// Returns the log message that names the unknown export and lists the existing ones.
  [[nodiscard]] std::string unknown_name(std::string_view name) const;
  /// Asks the owner to admit the client.
  void choose(wire::nbd_option option, const export_info& chosen, const info_request& request);
  void close(std::string reason, bool is_violation);

  negotiation_options options_;
  std::string input_;
  std::size_t consumed_ = 0;  ///< number of consumed bytes in input_
  std::deque<std::string> replies_;
  phase phase_ = phase::greeting;
  std::size_t options_left_ = most_options;
  bool no_zeroes_ = false;
  bool in_tls_ = false;
  bool shutting_down_ = false;
  bool has_listed_ = false;
  bool is_violation_ = false;
  agreement agreed_;
  export_info agreed_export_;
  wire::nbd_option chosen_by_{};  ///< NBD_OPT_GO or NBD_OPT_EXPORT_NAME
  info_request chosen_request_{};
  std::string last_refusal_;
  std::string reason_;
};

}  // namespace xenpv::nbd
