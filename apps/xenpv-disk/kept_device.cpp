#include "kept_device.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "claim.hpp"
#include "cli/json.hpp"
#include "nbd/kernel_device.hpp"
#include "ublk/device_name.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::string_view kept_suffix = ".kept";
constexpr std::string_view identifier_prefix = "xenpv-disk ";
/// "xenp", in the upper half of the token; the lower half is the disk's number.
constexpr std::uint64_t token_mark = 0x7865'6e70ULL << 32U;

std::string path_for(const std::string& disk) {
  return fmt::format("{}/{}{}", runtime_directory(), disk, kept_suffix);
}

kept_device from_json(const cli::json& record) {
  kept_device out;
  // Records of earlier versions lack it, and the timeout.
  const auto driver = parse_device_driver(record.value("driver", std::string("nbd")));
  if (!driver) throw failure(errc::invalid_argument, "read the driver", "expected nbd or ublk");
  out.device = {*driver, record.at("index").get<std::uint32_t>()};
  out.identity = record.at("identity").get<std::string>();
  if (*driver == device_driver::ublk) {
    out.sequence = record.at("sequence").get<std::uint64_t>();
    return out;
  }
  out.connected_by = record.at("connected_by").get<pid_t>();
  out.connections = record.at("connections").get<std::size_t>();
  out.timeout = std::chrono::seconds(record.value("timeout", std::int64_t{0}));
  return out;
}

cli::json to_json(const kept_device& kept) {
  cli::json out{{"driver", to_string(kept.device.driver)},
                {"index", kept.device.index},
                {"identity", kept.identity}};
  if (kept.device.driver == device_driver::ublk) {
    out["sequence"] = kept.sequence;
    return out;
  }
  out["connected_by"] = kept.connected_by;
  out["connections"] = kept.connections;
  out["timeout"] = kept.timeout.count();
  return out;
}

kept_device parse(std::istream& file, const std::string& path) {
  try {
    return from_json(cli::json::parse(file));
  } catch (const std::exception& problem) {
    throw failure(make_error_code(errc::invalid_argument), fmt::format("read {}", path),
                  fmt::format("{}; detach the device and remove the file", problem.what()));
  }
}

/// True if the kernel device with this index is still the recorded one.
bool is_still_there(const std::string& disk, const kept_device& kept) {
  const auto index = kept.device.index;
  if (kept.device.driver == device_driver::ublk)
    return ublk::device_sequence(index) == kept.sequence;
  if (nbd::kernel_device_owner(index) != kept.connected_by) return false;
  const auto identifier = nbd::kernel_device_identifier(index);
  return !identifier || *identifier == device_identifier(disk);
}

}  // namespace

std::string device_identifier(const std::string& disk) {
  return fmt::format("{}{}", identifier_prefix, disk);
}

std::string disk_of_identifier(const std::string& identifier) {
  if (!identifier.starts_with(identifier_prefix))
    throw failure(errc::invalid_argument, fmt::format("identifier '{}'", identifier),
                  "it is not of xenpv-disk");
  return identifier.substr(identifier_prefix.size());
}

std::uint64_t device_token(std::uint32_t number) noexcept {
  return token_mark | number;
}

bool is_device_token(std::uint64_t token) noexcept {
  return (token & 0xffff'ffff'0000'0000ULL) == token_mark;
}

void remember_device(const std::string& disk, const kept_device& device) {
  const auto path = path_for(disk);
  const auto new_path = path + ".new";
  {
    std::ofstream file(new_path, std::ios::trunc);
    file << to_json(device).dump() << '\n';
    if (!file.flush()) throw_errno("write " + new_path);
  }
  if (::rename(new_path.c_str(), path.c_str()) != 0) throw_errno("write " + path);
}

void forget_device(const std::string& disk) noexcept {
  ::unlink(path_for(disk).c_str());
}

std::optional<kept_device> find_kept_device(const std::string& disk) {
  const auto path = path_for(disk);
  std::ifstream file(path);
  if (!file) return std::nullopt;
  auto kept = parse(file, path);
  if (!is_still_there(disk, kept)) return std::nullopt;
  return kept;
}

std::string disk_of_kept_device(const kernel_device& device) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory(), ignored)) {
    auto name = entry.path().filename().string();
    if (!name.ends_with(kept_suffix)) continue;
    name.resize(name.size() - kept_suffix.size());
    const auto kept = find_kept_device(name);
    if (kept && kept->device == device) return name;
  }
  return {};
}

}  // namespace xenpv::disk_app
