// A fake of the kernel NBD driver, which replies to netlink messages on a separate thread. Like the
// kernel, it duplicates the file descriptors of a device's sockets, whose numbers are in the
// message. The test performs the I/O on these duplicates.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "nbd/codec_driver.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::nbd::test {

class fake_kernel {
 public:
  struct device {
    std::uint64_t size = 0;
    std::uint64_t block_size = 0;
    std::uint64_t flags = 0;
    std::optional<std::uint64_t> timeout;
    std::optional<std::uint64_t> dead_timeout;
    std::string identifier;
    std::vector<unique_fd> sockets;
    std::vector<bool> dead;
    bool is_configured = false;
    bool is_open = false;  ///< another process has it open
  };

  fake_kernel();
  ~fake_kernel();
  fake_kernel(const fake_kernel&) = delete;
  fake_kernel& operator=(const fake_kernel&) = delete;

  /// Returns a kernel_driver that is connected to this kernel.
  [[nodiscard]] kernel_driver driver();

  /// Unloads the driver module.
  void unload();
  /// Refuses the next request with this command; all other requests succeed.
  void refuse(driver_command command, int error, std::string why = {});
  /// Refuses identifiers, like kernels before 5.14 that validate attributes strictly.
  void reject_identifiers();
  /// Sends these bytes as the next reply.
  void answer_with(std::string bytes);
  /// From now on, releases a device only after the peers of its sockets have been closed.
  void wait_for_hang_up();
  /// At the next request, closes the connection instead of replying.
  void die();

  /// Returns the requests so far, such as "NBD_CMD_RECONFIGURE nbd1 size=8192".
  [[nodiscard]] std::vector<std::string> requests();
  /// Runs `use` with the device. Creates the device if necessary.
  template <class Function>
  auto with(std::uint32_t index, Function use) {
    const std::lock_guard lock(mutex_);
    return use(devices_[index]);
  }
  /// Marks socket `number` as dead, like the kernel after a timeout: shuts the socket down and, if
  /// `notify` is true, sends a notification to the multicast group.
  void kill_link(std::uint32_t index, std::size_t number, bool notify = true);
  void notify_dead_link(std::uint32_t index);
  /// Disconnects the device as if another process had requested it.
  void disconnect(std::uint32_t index);

 private:
  void serve();
  [[nodiscard]] std::string answer(std::span<const std::byte> datagram);
  [[nodiscard]] std::string carry_out(driver_command command, const netlink_message& request);
  [[nodiscard]] int connect(std::span<const netlink_attribute> attributes, std::uint32_t& index);
  [[nodiscard]] int reconfigure(std::span<const netlink_attribute> attributes, device& target);
  void release(device& target) const;

  std::mutex mutex_;
  unique_fd commands_;
  unique_fd notices_;
  unique_fd driver_commands_;
  unique_fd driver_notices_;
  bool loaded_ = true;
  bool knows_identifier_ = true;
  bool dying_ = false;
  bool waits_for_hang_up_ = false;
  std::map<driver_command, std::pair<int, std::string>> refusals_;
  std::optional<std::string> next_answer_;
  std::vector<std::string> requests_;
  std::map<std::uint32_t, device> devices_;
  std::thread thread_;
};

}  // namespace xenpv::nbd::test
