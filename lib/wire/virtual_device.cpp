#include "wire/virtual_device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/parse.hpp"

namespace xenpv::wire {
namespace {

/// Converts the letters of a disk name to a number: a = 0, z = 25, aa = 26.
std::optional<std::uint32_t> disk_index(std::string_view letters) {
  std::uint64_t number = 0;
  for (const char letter : letters) {
    if (letter < 'a' || letter > 'z' || number > std::numeric_limits<std::uint32_t>::max() / 26)
      return std::nullopt;
    number = number * 26 + static_cast<std::uint64_t>(letter - 'a') + 1;
  }
  if (number == 0) return std::nullopt;
  return static_cast<std::uint32_t>(number - 1);
}

/// Returns 0 for the whole disk. Partition numbers start at 1 and do not have leading zeros.
std::optional<std::uint32_t> partition_number(std::string_view digits) {
  if (digits.empty()) return 0;
  const auto number = parse_unsigned(digits, "partition", 1, 255);
  if (!number || digits.front() == '0') return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

/// The SCSI majors in disk order. Each disk has 16 minor numbers: the first major is for sda to
/// sdp, the second for sdq to sdaf, and so on.
constexpr std::array<std::uint32_t, 16> scsi_majors = {8,   65,  66,  67,  68,  69,  70,  71,
                                                       128, 129, 130, 131, 132, 133, 134, 135};

/// Returns the index of a SCSI disk (0 for sda), or nullopt if `major` is not a SCSI major.
std::optional<std::uint32_t> scsi_disk(std::uint32_t major, std::uint32_t minor) {
  const auto* const match = std::ranges::find(scsi_majors, major);
  if (match == scsi_majors.end()) return std::nullopt;
  return static_cast<std::uint32_t>(match - scsi_majors.begin()) * 16 + (minor >> 4);
}

/// Returns the device number that xen-vbd-interface(7) defines, or nullopt if it does not define
/// one for this disk or partition.
std::optional<std::uint32_t> device_number(std::string_view kind, std::uint32_t disk,
                                           std::uint32_t partition) {
  if (kind == "xvd") {
    if (disk < 16 && partition < 16) return 202U << 8 | disk << 4 | partition;
    if (disk < 1U << 20) return 1U << 28 | disk << 8 | partition;
  }
  if (kind == "hd" && disk < 4 && partition < 64)
    return (disk < 2 ? 3U : 22U) << 8 | (disk & 1U) << 6 | partition;
  if (kind == "sd" && disk < 16 && partition < 16) return 8U << 8 | disk << 4 | partition;
  return std::nullopt;
}

/// The inverse of disk_index(): a, b, ..., z, aa, ab, ...
std::string disk_letters(std::uint32_t index) {
  std::string out;
  for (std::uint64_t left = std::uint64_t{index} + 1; left > 0; left = (left - 1) / 26)
    out.insert(out.begin(), static_cast<char>('a' + (left - 1) % 26));
  return out;
}

std::string disk_name(std::string_view kind, std::uint32_t disk, std::uint32_t partition) {
  const auto whole = fmt::format("{}{}", kind, disk_letters(disk));
  return partition == 0 ? whole : fmt::format("{}{}", whole, partition);
}

}  // namespace

result<std::uint32_t> parse_virtual_device(std::string_view name) {
  constexpr std::string_view form = "expected a disk name such as xvda, hda or sda, or its number";
  const auto refuse = [&] {
    return make_error(errc::invalid_argument, fmt::format("disk '{}'", name), form);
  };
  if (const auto number =
          parse_unsigned(name, "disk", 0, std::numeric_limits<std::uint32_t>::max()))
    return static_cast<std::uint32_t>(*number);
  for (const std::string_view kind : {"xvd", "hd", "sd"}) {
    if (!name.starts_with(kind)) continue;
    const auto rest = name.substr(kind.size());
    const auto digits = std::min(rest.find_first_of("0123456789"), rest.size());
    const auto disk = disk_index(rest.substr(0, digits));
    const auto partition = partition_number(rest.substr(digits));
    if (!disk || !partition) return refuse();
    const auto device = device_number(kind, *disk, *partition);
    if (!device) return refuse();
    return *device;
  }
  return refuse();
}

std::string virtual_device_name(std::uint32_t number) {
  if ((number >> 28) == 1) return disk_name("xvd", (number & 0x0FFFFFFF) >> 8, number & 0xFF);
  const auto minor = number & 0xFF;
  if (const auto disk = scsi_disk(number >> 8, minor)) return disk_name("sd", *disk, minor & 15);
  switch (number >> 8) {
    case 202:
      return disk_name("xvd", minor >> 4, minor & 15);
    case 3:
      return disk_name("hd", minor >> 6, minor & 63);
    case 22:
      return disk_name("hd", 2 + (minor >> 6), minor & 63);
    default:
      return fmt::format("{}", number);
  }
}

std::optional<std::string> linux_disk_name(std::uint32_t number) {
  if ((number >> 28) == 1) return disk_name("xvd", (number & 0x0FFFFFFF) >> 8, number & 0xFF);
  const auto minor = number & 0xFF;
  if (const auto disk = scsi_disk(number >> 8, minor)) return disk_name("xvd", *disk, minor & 15);
  switch (number >> 8) {
    case 202:
      return disk_name("xvd", minor >> 4, minor & 15);
    // In Linux, xen_translate_vdev() drops the partition of an IDE disk: hda1 appears as xvda.
    case 3:
      return disk_name("xvd", minor >> 6, 0);
    case 22:
      return disk_name("xvd", 2 + (minor >> 6), 0);
    default:
      return std::nullopt;
  }
}

std::string guest_disk_name(const guest_disk& disk) {
  if (disk.block_device) return *disk.block_device;
  return linux_disk_name(disk.number).value_or(virtual_device_name(disk.number));
}

std::vector<std::string> guest_disk_names(std::span<const guest_disk> disks) {
  std::vector<std::string> out;
  out.reserve(disks.size());
  for (const auto& disk : disks)
    out.push_back(guest_disk_name(disk));
  const auto rename = [&](auto&& new_name) {
    const auto before = out;
    for (std::size_t i = 0; i < disks.size(); ++i)
      if (disks[i].block_device != before[i] && std::ranges::count(before, before[i]) > 1)
        out[i] = new_name(disks[i].number);
  };
  rename([](std::uint32_t number) { return virtual_device_name(number); });
  rename([](std::uint32_t number) { return fmt::format("{}", number); });
  return out;
}

}  // namespace xenpv::wire
