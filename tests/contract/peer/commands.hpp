// The protocol between the cases in the guest and their peer in domain 0. Two xenstore nodes below
// the guest's home directory hold a command "ID WORD WORD..." and a reply "ID ok WORD..." or "ID
// error ERRNO". IDs are unique, so each side recognises a message that it has already handled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::contract {

/// Relative to the guest's home directory.
inline constexpr std::string_view peer_command_node = "data/xenpv-contract-peer/command";
inline constexpr std::string_view peer_reply_node = "data/xenpv-contract-peer/reply";

struct peer_command {
  std::string id;
  std::vector<std::string> words;  ///< the first word is the verb
};

struct peer_reply {
  std::string id;
  int error = 0;                   ///< errno of the failed call; 0: success
  std::vector<std::string> words;  ///< results of a successful call

  /// Throws std::runtime_error if the word is missing or not a number.
  [[nodiscard]] std::uint32_t number(std::size_t index) const;
};

[[nodiscard]] std::string to_text(const peer_command& command);
[[nodiscard]] std::string to_text(const peer_reply& reply);
/// The parse functions return an empty ID if the text is invalid.
[[nodiscard]] peer_command parse_command(std::string_view text);
[[nodiscard]] peer_reply parse_reply(std::string_view text);

/// Throws std::runtime_error unless `text` is a decimal number.
[[nodiscard]] std::uint32_t parse_number(std::string_view text);

/// Encode each byte as two hexadecimal digits, and no bytes as "-".
[[nodiscard]] std::string to_hex(std::string_view bytes);
[[nodiscard]] std::string from_hex(std::string_view text);

}  // namespace xenpv::contract
