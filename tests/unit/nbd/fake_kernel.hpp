// The kernel's NBD driver as its netlink sockets show it, played by a thread: takes the sockets of
// a device out of the message by their numbers, as the kernel does, and keeps duplicates. What it
// does with them is the test's (kernel_link.hpp).
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
    bool is_open = false;  ///< by somebody else
  };

  fake_kernel();
  ~fake_kernel();
  fake_kernel(const fake_kernel&) = delete;
  fake_kernel& operator=(const fake_kernel&) = delete;

  /// A driver that speaks with this kernel.
  [[nodiscard]] kernel_driver driver();

  /// From now on the driver is not loaded.
  void unload();
  /// The next request of that kind is refused; others are carried out.
  void refuse(wire::nbd_driver_command command, int error, std::string why = {});
  /// As kernels before 5.14 that check strictly.
  void know_no_identifier();
  /// The next answer is these bytes.
  void answer_with(std::string bytes);
  /// It lets go of a device only when the other ends of its sockets are closed.
  void wait_for_hang_up();
  /// Answers nothing any more and hangs up at the next request.
  void die();

  /// Requests so far, as in "NBD_CMD_RECONFIGURE nbd1 size=8192".
  [[nodiscard]] std::vector<std::string> heard();
  /// Runs `use` with the device; made if need be.
  template <class Function>
  auto with(std::uint32_t index, Function use) {
    const std::lock_guard lock(mutex_);
    return use(devices_[index]);
  }
  /// Its socket `number` is dead for the kernel, as after a timeout: shut down, and told to the
  /// group if `tell`.
  void kill_link(std::uint32_t index, std::size_t number, bool tell = true);
  void tell_dead_link(std::uint32_t index);
  /// As on the request of another process.
  void disconnect(std::uint32_t index);

 private:
  void live();
  [[nodiscard]] std::string answer(std::span<const std::byte> datagram);
  [[nodiscard]] std::string carry_out(wire::nbd_driver_command command, const netlink_message& in);
  [[nodiscard]] int connect(std::span<const netlink_attribute> attributes, std::uint32_t& index);
  [[nodiscard]] int reconfigure(std::span<const netlink_attribute> attributes, device& on);
  void let_go(device& on) const;

  std::mutex mutex_;
  unique_fd commands_;
  unique_fd notices_;
  unique_fd their_commands_;
  unique_fd their_notices_;
  bool loaded_ = true;
  bool knows_identifier_ = true;
  bool dying_ = false;
  bool waits_for_hang_up_ = false;
  std::map<wire::nbd_driver_command, std::pair<int, std::string>> refusals_;
  std::optional<std::string> next_answer_;
  std::vector<std::string> heard_;
  std::map<std::uint32_t, device> devices_;
  std::thread thread_;
};

}  // namespace xenpv::nbd::test
