#include "kept_device.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "claim.hpp"
#include "cli/json.hpp"
#include "nbd/kernel_device.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::string_view kept_suffix = ".kept";
constexpr std::string_view identifier_prefix = "xenpv-disk ";

std::string path_for(const std::string& disk) {
  return fmt::format("{}/{}{}", runtime_directory(), disk, kept_suffix);
}

kept_device parse(std::istream& file, const std::string& path) {
  try {
    const auto record = cli::json::parse(file);
    kept_device out;
    out.index = record.at("index").get<std::uint32_t>();
    out.connected_by = record.at("connected_by").get<pid_t>();
    out.connections = record.at("connections").get<std::size_t>();
    out.identity = record.at("identity").get<std::string>();
    // Records of earlier versions lack it.
    out.timeout = std::chrono::seconds(record.value("timeout", std::int64_t{0}));
    return out;
  } catch (const nlohmann::json::exception& problem) {
    throw failure(make_error_code(errc::invalid_argument), fmt::format("read {}", path),
                  fmt::format("{}; detach the device and remove the file", problem.what()));
  }
}

/// True if the kernel device with this index is still the recorded one.
bool is_still_there(const std::string& disk, const kept_device& device) {
  if (nbd::kernel_device_owner(device.index) != device.connected_by) return false;
  const auto identifier = nbd::kernel_device_identifier(device.index);
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

void remember_device(const std::string& disk, const kept_device& device) {
  const cli::json record{{"index", device.index},
                         {"connected_by", device.connected_by},
                         {"connections", device.connections},
                         {"identity", device.identity},
                         {"timeout", device.timeout.count()}};
  const auto path = path_for(disk);
  const auto new_path = path + ".new";
  {
    std::ofstream file(new_path, std::ios::trunc);
    file << record.dump() << '\n';
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

std::string disk_of_kept_device(std::uint32_t index) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory(), ignored)) {
    auto name = entry.path().filename().string();
    if (!name.ends_with(kept_suffix)) continue;
    name.resize(name.size() - kept_suffix.size());
    const auto kept = find_kept_device(name);
    if (kept && kept->index == index) return name;
  }
  return {};
}

}  // namespace xenpv::disk_app
