// Messages between the main process and its custodian, and their encoding. Both ends are built
// together, so the encoding is private and uses host byte order. Decoding is nevertheless strict.
// Performs no I/O. The descriptor sent with a keep_request or hold_request is not part of the
// encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::xen {

/// The main process assigns the ID, which stays valid when the custodian is replaced.
struct keep_request {
  std::uint64_t id = 0;
};
struct hold_request {};
struct release_request {
  std::uint64_t id = 0;
};
struct resumed_request {};
struct set_cleanup_request {
  std::string name;
  std::vector<cleanup_step> steps{};
};
struct clear_cleanup_request {
  std::string name;
};
/// Runs and unregisters all cleanups registered so far.
struct clean_up_request {};
struct stop_request {};
using custodian_request =
    std::variant<keep_request, hold_request, release_request, resumed_request, set_cleanup_request,
                 clear_cleanup_request, clean_up_request, stop_request>;

struct custodian_reply {
  std::uint64_t value = 0;  ///< stop_request: 1 if the custodian keeps running, else 0
  /// If the request was refused, an errc value and its explanation; otherwise 0 and empty.
  int refusal = 0;
  std::string reason{};
  friend bool operator==(const custodian_reply&, const custodian_reply&) = default;
};

[[nodiscard]] std::string encode(const custodian_request& request);
[[nodiscard]] std::string encode(const custodian_reply& reply);
[[nodiscard]] result<custodian_request> decode_request(std::string_view bytes);
[[nodiscard]] result<custodian_reply> decode_reply(std::string_view bytes);

}  // namespace xenpv::xen
