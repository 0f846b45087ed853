// Requests from a server without privileges to its root helper: their layout, and which of them the
// helper admits. Performs no I/O and no operation; apps/xenpv-disk does.
//
// A request names no device and no path: the server names both while it still has its privileges,
// and then seals the helper. Afterwards, a request selects a disk or a file by its index, and
// nothing can be added. Both ends are the same program, so integers have host byte order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::sandbox {

/// The role of a helper, which admits only the operations of its role.
enum class helper_role {
  guest,   ///< the disks, files, interrupts and the custodian of a server
  device,  ///< the kernel device of a server, of the NBD or the ublk driver
};

enum class helper_operation : std::uint32_t {
  // Before the seal.
  seal = 1,    ///< ends the preparation
  add_disk,    ///< numbers[0]: the number of a disk; text: its name
  add_file,    ///< text: the absolute path of a file or socket that remove_file removes
  use_device,  ///< numbers[0]: the number of the NBD device, or any_device; numbers[1]: 1 if it
               ///< is connected already; text: its identifier
  use_ublk_device,  ///< numbers: the number of the ublk device, which exists, and its token; text:
                    ///< its identifier

  // Role `guest`, at any time.
  start_custodian,   ///< reply: its PID and a descriptor
  remove_file,       ///< index: of the file
  bind_disk,         ///< index: of the disk; binds it to the kernel driver
  unbind_disk,       ///< index: of the disk; unbinds it
  set_irq_affinity,  ///< numbers: IRQ, CPU

  // Role `device`, at any time, for an NBD device.
  connect_device,     ///< numbers: size, block size, flags, timeout and dead timeout in seconds;
                      ///< descriptors: sockets; reply: the number of the device
  replace_sockets,    ///< numbers: timeout and dead timeout in seconds, or no_time; descriptors:
                      ///< sockets
  disconnect_device,  ///< no arguments
  query_device,       ///< reply: 0 not connected, 1 connected, 2 no such device
  enlarge_buffer,     ///< descriptor: a Unix socket
  limit_requests,     ///< numbers[0]: the time limit of requests, in milliseconds
  prepare_queue,      ///< numbers[0]: the size of the largest requests, in KiB
  remember_device,    ///< numbers: connections, timeout in seconds; text: the disk's identity

  // Role `device`, at any time, for a ublk device.
  stop_device,    ///< no arguments
  remove_device,  ///< no arguments

  // Role `device`, at any time, for a device of either driver.
  resize_device,  ///< numbers: size, block size
  open_device,    ///< numbers[0]: 0 to scan (only NBD), 1 to write back; reply: a descriptor that
                  ///< reports the outcome
  forget_device,  ///< no arguments
};
inline constexpr auto last_operation = helper_operation::forget_device;

/// "seal", "add_disk", ...; "operation 99" for an unknown one.
[[nodiscard]] std::string to_string(helper_operation operation);

inline constexpr std::uint64_t any_device = std::numeric_limits<std::uint64_t>::max();
inline constexpr std::uint64_t no_time = std::numeric_limits<std::uint64_t>::max();

struct helper_request {
  static constexpr std::size_t longest_text = 1023;

  helper_operation operation{};
  std::uint32_t index = 0;
  std::array<std::uint64_t, 5> numbers{};
  std::array<char, longest_text + 1> text{};  ///< zero-padded

  /// Throws errc::limit_reached if the text is too long.
  void set_text(std::string_view value);
  [[nodiscard]] std::string_view get_text() const noexcept;
};
static_assert(std::is_trivially_copyable_v<helper_request>);
static_assert(sizeof(helper_request) == 4 + 4 + 5 * 8 + 1024, "no padding");

struct helper_reply {
  static constexpr std::size_t longest_text = 1007;

  /// 0: done; otherwise the value of an errc if `is_errc` is 1, or of an errno.
  std::int32_t error = 0;
  std::uint32_t is_errc = 0;
  std::uint64_t value = 0;
  std::array<char, longest_text + 1> text{};  ///< the whole message of an error, zero-padded

  /// Truncates a text that is too long.
  void set_error(const std::error_code& code, std::string_view message);
  [[nodiscard]] std::optional<xenpv::error> get_error() const;
};
static_assert(std::is_trivially_copyable_v<helper_reply>);
static_assert(sizeof(helper_reply) == 4 + 4 + 8 + 1008, "no padding");

/// The largest number of descriptors of a request: the connections of a kernel device.
inline constexpr std::size_t most_descriptors = 64;

/// Returns the request if the size is exact, the operation is known, and the text ends with zeros.
[[nodiscard]] result<helper_request> decode_helper_request(std::span<const std::byte> bytes);
/// Returns the reply if the size is exact and the text ends with zeros.
[[nodiscard]] result<helper_reply> decode_helper_reply(std::span<const std::byte> bytes);

/// Decides which requests a helper carries out. Stores the objects to which requests may refer.
class helper_policy {
 public:
  struct disk {
    std::uint64_t number = 0;
    std::string name;
  };
  struct device {
    std::optional<std::uint32_t> index;  ///< empty: the kernel chooses one
    bool is_connected = false;           ///< by this or an earlier server
    std::string identifier;
    /// Another server may now use the device's number, so operations must not change it any more.
    bool was_disconnected = false;
    /// The token of a ublk device, by which the helper recognises it; unset: an NBD device.
    std::optional<std::uint64_t> token;
  };

  explicit helper_policy(helper_role role) noexcept : role_(role) {}

  /// Checks a request with this number of descriptors. Carries out preparation requests (seal and
  /// add_*). Returns an error that names the operation if the request is not permitted.
  [[nodiscard]] result<void> admit(const helper_request& request, std::size_t descriptors);

  [[nodiscard]] bool is_sealed() const noexcept { return sealed_; }
  [[nodiscard]] const disk& disk_of(const helper_request& request) const;
  [[nodiscard]] const std::string& file_of(const helper_request& request) const;
  [[nodiscard]] const device& kernel_device() const noexcept { return device_; }
  /// Fixes the number that the kernel has chosen.
  void device_connected(std::uint32_t index) noexcept;
  /// Ends the use of the device, which was disconnected or removed: only query_device and
  /// forget_device are permitted from now on.
  void device_disconnected() noexcept;

 private:
  /// Return the reason to refuse a request; empty: none.
  /// @{
  [[nodiscard]] std::string find_objection(const helper_request& request,
                                           std::size_t descriptors) const;
  [[nodiscard]] std::string object_to_preparation(const helper_request& request) const;
  [[nodiscard]] std::string object_to_guest(const helper_request& request) const;
  [[nodiscard]] std::string object_to_device(const helper_request& request) const;
  /// @}
  void prepare(const helper_request& request);

  helper_role role_;
  bool sealed_ = false;
  std::vector<disk> disks_;
  std::vector<std::string> files_;
  device device_;
  bool has_device_ = false;
};

}  // namespace xenpv::sandbox
