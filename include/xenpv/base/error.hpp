// Errors with context: the operation, its object, the reason and the remedy.
//
// If a system call or library call fails, the caller throws `failure`, even in constructors; code
// without I/O returns `result<T>`. Absence is never an error: a function that may find no value
// returns std::optional. Independent of Xen.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <string_view>
#include <system_error>

namespace xenpv {

/// Conditions for which there is no errno. Category name: "xenpv".
enum class errc {
  invalid_argument = 1,  ///< a user-supplied value is malformed or out of range
  protocol_violation,    ///< the peer violated the protocol
  not_available,         ///< this machine lacks a required device or feature (exit status 77)
  limit_reached,         ///< a configured or built-in limit is reached
  lost_connection,       ///< the connection to the peer is lost
  resumed,               ///< the guest was saved and restored; the object is unusable
  timed_out,             ///< a deadline passed
  wrong_disk,            ///< a different disk was found after a reconnect
};

/// The category of errc.
[[nodiscard]] const std::error_category& category() noexcept;
/// Lets std::error_code be constructed from errc, and compared with it.
[[nodiscard]] std::error_code make_error_code(errc value) noexcept;

/// An error as a value, for code without I/O.
struct error {
  std::error_code code;  ///< in category() for errc, or std::generic_category() for an errno
  std::string text;      ///< whole message: "<operation> <object>: <reason> (<remedy>)"
};

/// The exception thrown when a system call or library call fails. what() is the whole message:
/// "<operation>: <reason> (<remedy>)".
class failure : public std::system_error {
 public:
  /// `operation` names the operation and its operands ("share 353 pages with domain 0"). `remedy`,
  /// if not empty, explains how to fix the problem and is appended in parentheses.
  failure(std::error_code code, std::string_view operation, std::string_view remedy = {});
  /// For an error from code without I/O: code() is e.code, and what() is e.text.
  explicit failure(const error& e);

  /// The whole message, valid for the lifetime of this object.
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

/// A value, or an error from code without I/O. value() throws the error as a `failure`.
template <class T>
using result = boost::system::result<T, error>;

/// Returns the strerror(3) text for an errno value. Thread-safe.
[[nodiscard]] std::string describe_errno(int value);

/// Throws `failure` for the current errno. `operation` and `remedy` are as in the `failure`
/// constructor.
[[noreturn]] void throw_errno(std::string_view operation, std::string_view remedy = {});
/// The same for the errno value `value`.
[[noreturn]] void throw_errno(int value, std::string_view operation, std::string_view remedy = {});

/// Builds an `error` whose text equals what() of the corresponding `failure`.
[[nodiscard]] error make_error(std::error_code code, std::string_view operation,
                               std::string_view remedy = {});
/// The same for an errc, without an explicit conversion.
[[nodiscard]] error make_error(errc code, std::string_view operation, std::string_view remedy = {});

/// Customises boost::system::result: calling value() on an error throws `failure`.
[[noreturn]] void throw_exception_from_error(const error& e, const boost::source_location&);

}  // namespace xenpv

/// @cond
template <>
struct std::is_error_code_enum<xenpv::errc> : std::true_type {};
/// @endcond
