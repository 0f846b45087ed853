// The operations of a server's root helpers, which run in the helpers. Requests are already
// admitted: sandbox/helper_request.hpp.
#pragma once

#include <memory>
#include <string>

#include "sandbox/root_helper.hpp"

namespace xenpv::disk_app {

/// Starts the helper for role `guest`. Its custodians confine themselves as `mode` says: "on",
/// "log" or "off". With `swap`, the helper and its custodians are locked in memory. Throws
/// `failure`.
[[nodiscard]] std::unique_ptr<sandbox::root_helper> start_guest_helper(const std::string& mode,
                                                                       bool swap);
/// Starts the helper for role `device`; `swap` is as above. Throws `failure`.
[[nodiscard]] std::unique_ptr<sandbox::root_helper> start_device_helper(bool swap);

}  // namespace xenpv::disk_app
