#include "contract/peer/commands.hpp"

#include <charconv>
#include <sstream>
#include <stdexcept>

namespace xenpv::contract {

namespace {

[[nodiscard]] std::vector<std::string> split(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;)
    words.push_back(word);
  return words;
}

void append(std::string& text, const std::vector<std::string>& words) {
  for (const auto& word : words)
    text += ' ' + word;
}

[[nodiscard]] int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  throw std::runtime_error("invalid hexadecimal digit in a command or a reply");
}

}  // namespace

std::uint32_t parse_number(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw std::runtime_error("not a number: '" + std::string(text) + "'");
  return value;
}

std::uint32_t peer_reply::number(std::size_t index) const {
  if (index >= words.size()) throw std::runtime_error("the peer's reply is too short");
  return parse_number(words[index]);
}

std::string to_text(const peer_command& command) {
  std::string text = command.id;
  append(text, command.words);
  return text;
}

std::string to_text(const peer_reply& reply) {
  if (reply.error != 0) return reply.id + " error " + std::to_string(reply.error);
  std::string text = reply.id + " ok";
  append(text, reply.words);
  return text;
}

peer_command parse_command(std::string_view text) {
  auto words = split(text);
  if (words.size() < 2) return {};
  peer_command command{words.front(), {}};
  command.words.assign(words.begin() + 1, words.end());
  return command;
}

peer_reply parse_reply(std::string_view text) {
  auto words = split(text);
  if (words.size() < 2) return {};
  peer_reply reply{words[0], 0, {}};
  if (words[1] == "ok") {
    reply.words.assign(words.begin() + 2, words.end());
  } else {
    if (words.size() < 3) return {};
    reply.error = static_cast<int>(parse_number(words[2]));
  }
  return reply;
}

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  if (bytes.empty()) return "-";
  std::string text;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    text += digits[value >> 4];
    text += digits[value & 15];
  }
  return text;
}

std::string from_hex(std::string_view text) {
  if (text == "-") return {};
  if (text.size() % 2 != 0)
    throw std::runtime_error("odd number of hexadecimal digits in a command or a reply");
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2)
    bytes += static_cast<char>(hex_digit(text[i]) << 4 | hex_digit(text[i + 1]));
  return bytes;
}

}  // namespace xenpv::contract
