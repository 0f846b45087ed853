// Option haggling, the server's side, as a machine without I/O: fed with what the client sent, it
// says step by step what to do. Fixed newstyle; time limits are its owner's.
//
//   greeting -> client flags -> options ... -> transmission | close
//                                  ^    |
//                                  +----+ NBD_OPT_STARTTLS, TLS handshake, tls_started()
//
// The owner calls next() until it says read_more, then reads and feeds.
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
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::nbd {

struct negotiation_options {
  /// As this connection will see them, whatever happens meanwhile. Each passed validate().
  std::vector<export_info> exports;
  /// Name of the export that a client means that asks for the empty name; empty: none but one that
  /// is called so.
  std::string default_export;
  tls_mode tls = tls_mode::off;
  bool structured_replies = true;
  /// There is nothing to agree on: the client knows the first export from elsewhere, and its first
  /// byte is that of a request. Simple replies.
  bool agreed_beforehand = false;
};

/// Longest option data that is read. Needs to hold an export name and some metadata queries.
inline constexpr std::uint32_t largest_option = 64U << 10U;
/// Options a client may send, and once more for each export that NBD_OPT_LIST told it about.
inline constexpr std::size_t most_options = 32;

/// What came out of it.
struct agreement {
  std::size_t export_index = 0;  ///< into negotiation_options::exports
  bool structured = false;
  /// Metadata contexts selected for that export; NBD_REPLY_TYPE_BLOCK_STATUS names them by id.
  std::vector<selected_context> contexts;

  [[nodiscard]] session_terms terms() const noexcept { return {structured, !contexts.empty()}; }
};

struct negotiation_step {
  enum class action : std::uint8_t {
    read_more,  ///< read at least a byte and feed() it
    send,       ///< send `bytes`, a whole reply, with one write
    start_tls,  ///< everything was sent: shake hands, then tls_started(); if it fails, hang up
    transmit,   ///< see agreed() and rest()
    close,      ///< hang up; it stays at that
  };
  action what = action::read_more;
  std::string bytes{};
  /// Why it closes: for the log. Bytes a client chose are in it only as clean UTF-8.
  std::string reason{};
  /// Closes because the client broke the protocol or a bound; else it left, or asked for something
  /// in a way that has no other refusal.
  bool is_violation = false;
};

class negotiation {
 public:
  explicit negotiation(negotiation_options options);

  /// Takes what the client sent; to be called after a read_more only.
  void feed(std::span<const std::byte> bytes);
  [[nodiscard]] negotiation_step next();

  /// From now on what is fed came through TLS. All that was agreed on before is forgotten.
  void tls_started();
  /// From now on options but NBD_OPT_ABORT are answered with NBD_REP_ERR_SHUTDOWN.
  void shut_down() noexcept { shutting_down_ = true; }

  /// After transmit.
  [[nodiscard]] const agreement& agreed() const noexcept { return agreed_; }
  [[nodiscard]] const export_info& agreed_export() const noexcept {
    return options_.exports[agreed_.export_index];
  }
  /// After transmit: what was fed behind the last option, the client's first requests.
  [[nodiscard]] std::span<const std::byte> rest() const noexcept;

 private:
  using action = negotiation_step::action;
  enum class phase : std::uint8_t { greeting, flags, options, tls, transmission, closed };

  /// What is fed and not taken yet.
  [[nodiscard]] std::string_view input() const noexcept;
  /// These return whether they got on; else more bytes are needed.
  bool take_flags();
  bool take_option();

  void answer(const option_message& option);
  void answer_export_name(std::string_view name);
  void answer_list(const option_message& option);
  void answer_info(const option_message& option);
  void answer_starttls(const option_message& option);
  void answer_structured_reply(const option_message& option);
  void answer_meta_context(const option_message& option);

  [[nodiscard]] const export_info* find(std::string_view name) const noexcept;
  /// Why no option but NBD_OPT_ABORT is taken now; null when they are.
  struct obstacle;
  [[nodiscard]] const obstacle* obstacle_to(wire::nbd_option option) const noexcept;
  void ack(const option_message& option);
  void refuse(const option_message& option, wire::nbd_reply type, std::string_view text);
  void refuse_name(const option_message& option, std::string_view name);
  void enter_transmission(const export_info& chosen, std::string_view asked_name);
  void close(std::string reason, bool is_violation);

  negotiation_options options_;
  std::string input_;
  std::size_t consumed_ = 0;  ///< of input_
  std::deque<std::string> replies_;
  phase phase_ = phase::greeting;
  std::size_t options_left_ = most_options;
  bool no_zeroes_ = false;
  bool in_tls_ = false;
  bool shutting_down_ = false;
  bool has_listed_ = false;
  bool is_violation_ = false;
  agreement agreed_;
  std::string context_export_;  ///< the name that agreed_.contexts were selected for
  std::string reason_;
};

}  // namespace xenpv::nbd
