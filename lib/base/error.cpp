#include "xenpv/base/error.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace xenpv {
namespace {

class xenpv_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "xenpv"; }
  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::invalid_argument:
        return "invalid argument";
      case errc::protocol_violation:
        return "protocol violation";
      case errc::not_available:
        return "not available here";
      case errc::limit_reached:
        return "limit reached";
      case errc::lost_connection:
        return "connection lost";
      case errc::resumed:
        return "the guest was saved and restored";
      case errc::timed_out:
        return "timed out";
      case errc::wrong_disk:
        return "not the same disk";
    }
    return fmt::format("unknown error {}", value);
  }
};

std::string lower_first(std::string text) {
  // "No such file" -> "no such file"; "EINTR ..." and "I/O error" are unchanged.
  if (text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z')
    text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

std::string compose(const std::error_code& code, std::string_view operation,
                    std::string_view remedy) {
  auto text = fmt::format("{}: {}", operation, lower_first(code.message()));
  if (!remedy.empty()) text += fmt::format(" ({})", remedy);
  return text;
}

}  // namespace

const std::error_category& category() noexcept {
  static const xenpv_category instance;
  return instance;
}

std::error_code make_error_code(errc value) noexcept {
  return {static_cast<int>(value), category()};
}

failure::failure(std::error_code code, std::string_view operation, std::string_view remedy)
    : std::system_error(code), text_(compose(code, operation, remedy)) {}

failure::failure(const error& e) : std::system_error(e.code), text_(e.text) {}

std::string describe_errno(int value) {
  return lower_first(std::error_code(value, std::generic_category()).message());
}

void throw_errno(std::string_view operation, std::string_view remedy) {
  throw_errno(errno, operation, remedy);
}

void throw_errno(int value, std::string_view operation, std::string_view remedy) {
  throw failure(std::error_code(value, std::generic_category()), operation, remedy);
}

error make_error(std::error_code code, std::string_view operation, std::string_view remedy) {
  return {code, compose(code, operation, remedy)};
}

error make_error(errc code, std::string_view operation, std::string_view remedy) {
  return make_error(make_error_code(code), operation, remedy);
}

void throw_exception_from_error(const error& e, const boost::source_location&) {
  throw failure(e);
}

}  // namespace xenpv
