#include <fmt/format.h>

#include <limits>

#include "sim/store_path.hpp"
#include "sim/store_service_state.hpp"
#include "wire/xs.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;

constexpr std::uint32_t largest_domid = std::numeric_limits<std::uint16_t>::max();

/// Returns nullopt for an out-of-range number, which a cast would wrap to another domain ID.
std::optional<domid> as_domid(std::uint32_t number) {
  if (number > largest_domid) return std::nullopt;
  return domid{static_cast<std::uint16_t>(number)};
}

}  // namespace

using answer = store_result<std::string>;

answer store_service::state::introduce(std::string_view payload) {
  const auto strings = terminated_strings(payload);
  // Like the daemon, ignore the second string, the ring's frame number.
  if (strings.size() < 3 || static_cast<std::int32_t>(lenient_number(strings[2])) <= 0)
    return std::errc::invalid_argument;
  const auto domain = as_domid(lenient_number(strings[0]));
  if (!domain) return std::errc::invalid_argument;
  introduce(*domain);
  return reply_ok;
}

answer store_service::state::release(std::string_view payload) {
  const auto text = sole_string(payload);
  const auto number = text ? lenient_number(*text) : 0;
  if (number == 0) return std::errc::invalid_argument;
  const auto domain = as_domid(number);
  if (!domain || !introduced.contains(*domain)) return std::errc::no_such_file_or_directory;
  release(*domain);
  return reply_ok;
}

answer store_service::state::resume(std::string_view payload) {
  const auto text = sole_string(payload);
  const auto number = text ? lenient_number(*text) : 0;
  if (number == 0) return std::errc::invalid_argument;
  const auto domain = as_domid(number);
  if (!domain || !introduced.contains(*domain)) return std::errc::no_such_file_or_directory;
  return reply_ok;
}

answer store_service::state::set_target(std::string_view payload) {
  const auto strings = terminated_strings(payload);
  if (strings.size() < 2) return std::errc::invalid_argument;
  const auto domain = as_domid(lenient_number(strings[0]));
  const auto target = as_domid(lenient_number(strings[1]));
  if (!domain || !target || !introduced.contains(*domain) || !introduced.contains(*target))
    return std::errc::no_such_file_or_directory;
  targets[*domain] = *target;
  return reply_ok;
}

answer store_service::state::get_domain_path(std::string_view payload) {
  const auto text = sole_string(payload);
  if (!text) return std::errc::invalid_argument;
  // Not domain_path(): the daemon replies for any number, even if there is no such domain.
  return fmt::format("/local/domain/{}", lenient_number(*text)) + '\0';
}

answer store_service::state::is_domain_introduced(std::string_view payload) {
  const auto text = sole_string(payload);
  if (!text) return std::errc::invalid_argument;
  const auto domain = as_domid(lenient_number(*text));
  const bool yes = domain && (*domain == domid_self || introduced.contains(*domain));
  return yes ? "T\0"s : "F\0"s;
}

}  // namespace xenpv::sim
