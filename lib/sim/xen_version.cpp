#include "sim/xen_version.hpp"

#include <fmt/format.h>

namespace xenpv::sim {

std::string_view to_string(xen_version version) noexcept {
  return version == xen_version::xen_4_17 ? "4.17" : "4.20";
}

result<xen_version> parse_xen_version(std::string_view text) {
  for (const auto version : {xen_version::xen_4_17, xen_version::xen_4_20})
    if (text == to_string(version)) return version;
  return error{make_error_code(errc::invalid_argument),
               fmt::format("cannot simulate Xen version '{}' (expected 4.17 or 4.20)", text)};
}

xen_version_files files_of(xen_version version) noexcept {
  if (version == xen_version::xen_4_17) return {"4", "17", ".7"};
  return {"4", "20", ".4"};
}

store_quota quota_of(xen_version version) noexcept {
  store_quota quota;
  quota.limits_paths_of_domain_0 = version == xen_version::xen_4_17;
  return quota;
}

store_control_options controls_of(xen_version version) noexcept {
  return {.like_xen_4_20 = version == xen_version::xen_4_20, .writes_files = true};
}

}  // namespace xenpv::sim
