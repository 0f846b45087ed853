// Errors with context: what was tried, on which object, why it failed and what to do about it.
//
// Edges (constructors, system calls, the C libraries) throw `failure`; pure code returns
// `result<T>`. "Absent" is never an error: such functions return std::optional. This header does
// not format values for logs and knows nothing of Xen.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <string_view>
#include <system_error>

namespace xenpv {

/// Conditions that have no errno of their own. Category name: "xenpv".
enum class errc {
  invalid_argument = 1,  ///< a value given by the user does not parse or is out of range
  protocol_violation,    ///< the other side broke the protocol
  not_available,         ///< this machine lacks what the operation needs (exit status 77)
  limit_reached,         ///< a configured or built-in limit is used up
  lost_connection,       ///< the other side went away
  resumed,               ///< the guest was saved and restored; the object is dead
  timed_out,             ///< a deadline passed
  wrong_disk,            ///< what came back after a lost connection is not what was there before
};

[[nodiscard]] const std::error_category& category() noexcept;
[[nodiscard]] std::error_code make_error_code(errc value) noexcept;

/// A failure that travels by value through pure code.
struct error {
  std::error_code code;
  std::string text;  ///< whole message: "<operation> <object>: <why> (<cure>)"
};

/// What is thrown at the edges. what() is the whole message: "<operation>: <why> (<cure>)".
class failure : public std::system_error {
 public:
  /// `operation` names the operation with its operands ("share 353 pages with domain 0");
  /// `cure`, if not empty, says what the user can do and is put in parentheses.
  failure(std::error_code code, std::string_view operation, std::string_view cure = {});
  explicit failure(const error& e);

  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

template <class T>
using result = boost::system::result<T, error>;

/// Text of an errno value in the words of strerror(3), thread-safe.
[[nodiscard]] std::string describe_errno(int value);

/// Throws `failure` for the current errno. `operation` and `cure` as in failure's constructor.
[[noreturn]] void throw_errno(std::string_view operation, std::string_view cure = {});
[[noreturn]] void throw_errno(int value, std::string_view operation, std::string_view cure = {});

/// Builds the value for pure code: the same text a `failure` would carry.
[[nodiscard]] error make_error(std::error_code code, std::string_view operation,
                               std::string_view cure = {});
[[nodiscard]] error make_error(errc code, std::string_view operation, std::string_view cure = {});

/// Hook of boost::system::result: value() on an error throws `failure`.
[[noreturn]] void throw_exception_from_error(const error& e, const boost::source_location&);

}  // namespace xenpv

template <>
struct std::is_error_code_enum<xenpv::errc> : std::true_type {};
