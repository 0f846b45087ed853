// The properties of a kernel NBD device as shown by sysfs, such as the process that connected it.
//
// Only inspects and tunes devices; nbd/kernel_driver.hpp connects and disconnects them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/system_root.hpp"

namespace xenpv::nbd {

/// "nbd3", the name in /sys/block.
[[nodiscard]] std::string kernel_device_name(std::uint32_t index);
/// "/dev/nbd3"
[[nodiscard]] std::string kernel_device_path(std::uint32_t index);
/// Parses "/dev/nbd3" or "nbd3"; nullopt for anything else.
[[nodiscard]] std::optional<std::uint32_t> kernel_device_index(std::string_view name);
/// The process that connected the device; nullopt: not connected.
[[nodiscard]] std::optional<pid_t> kernel_device_owner(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// The identifier with which the device was connected; nullopt: not connected, or this kernel
/// (before 5.14) does not show it.
[[nodiscard]] std::optional<std::string> kernel_device_identifier(
    std::uint32_t index, const system_root& root = system_root::from_environment());
/// Throws `failure` (errc::not_available) with a message that starts with `operation` unless the
/// kernel shows this identifier: the device was disconnected, and another may have its number.
void require_kernel_device(std::uint32_t index, std::string_view identifier,
                           std::string_view operation,
                           const system_root& root = system_root::from_environment());
/// The size in bytes; nullopt: the device does not exist.
[[nodiscard]] std::optional<std::uint64_t> kernel_device_size(
    std::uint32_t index, const system_root& root = system_root::from_environment());

/// Whether the kernel refuses writes to the device; nullopt: the device does not exist.
[[nodiscard]] std::optional<bool> kernel_device_is_read_only(
    std::uint32_t index, const system_root& root = system_root::from_environment());

/// Gives `socket`, an end of a link to the kernel, buffer space for several kernel requests. May
/// exceed wmem_max; without CAP_NET_ADMIN, as large as the system permits. Throws `failure`.
void enlarge_link_buffer(int socket);

/// Sets the kernel's time limit for requests to the device (queue/io_timeout). Throws `failure`.
void limit_kernel_requests(std::uint32_t index, std::chrono::milliseconds limit,
                           const system_root& root = system_root::from_environment());

/// Lets the kernel send requests of up to `kilobytes` KiB to the device, at most as many as its
/// driver supports, and without reordering them (queue/max_sectors_kb and queue/scheduler). By
/// default, the kernel splits requests of more than 128 KiB. Throws `failure`.
void prepare_kernel_queue(std::uint32_t index, std::uint32_t kilobytes,
                          const system_root& root = system_root::from_environment());

}  // namespace xenpv::nbd
