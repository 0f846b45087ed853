// A fake of the kernel's ublk driver: devices, tags, descriptors and data in memory. Enforces the
// real driver's rules about which calls are permitted in which state. Tests submit requests as
// users of the device and read the results.
//
// Queues belong to the thread of their executor. Commands may come from any thread and block like
// the real ones.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ublk/kernel.hpp"

namespace xenpv::ublk::test {

/// A request from a user of /dev/ublkbN.
struct user_request {
  io_operation op = io_operation::read;
  std::uint32_t flags = 0;
  std::uint64_t sector = 0;
  std::uint32_t sectors = 0;
  std::string data{};  ///< of a write; a read fills it in

  bool is_done = false;
  std::int32_t result = 0;
  unsigned deliveries = 0;  ///< number of times that a server has received it
};

class played_queue;

/// The kernel's state of one device, which also persists between two servers.
class played_device : public std::enable_shared_from_this<played_device> {
 public:
  dev_info info;
  params parameters;
  bool is_open = false;
  bool is_started = false;
  bool is_aborting = false;
  unsigned busy_recoveries = 0;  ///< START_USER_RECOVERY returns false this many times

  /// Submits a user's request to a queue. Returns the request, which will contain the result.
  std::shared_ptr<user_request> submit(std::size_t queue, user_request request);
  [[nodiscard]] std::size_t unfinished() const;

  /// The server has closed the device.
  void server_ended();

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::deque<std::shared_ptr<user_request>>> pending;  ///< for each queue
  std::vector<played_queue*> queues;                               ///< null: not open
};

class played_queue final : public kernel_queue {
 public:
  played_queue(std::shared_ptr<played_device> device, asio::any_io_executor executor,
               std::uint16_t index, std::uint16_t depth);
  ~played_queue() override;

  void listen(queue_listener& listener) override { listener_ = &listener; }
  void fetch(std::uint16_t tag) override { prepared_.push_back({tag, false, 0}); }
  void commit(std::uint16_t tag, std::int32_t result) override {
    prepared_.push_back({tag, true, result});
  }
  void submit() override;
  [[nodiscard]] io_desc descriptor(std::uint16_t tag) const override;
  [[nodiscard]] int copy_from_request(std::uint16_t tag, std::span<const iovec> memory) override;
  [[nodiscard]] int copy_to_request(std::uint16_t tag, std::span<const iovec> memory) override;
  void close() override;

  /// Lets the event loop deliver what is pending.
  void wake();
  [[nodiscard]] bool has_all_tags() const;
  [[nodiscard]] bool is_idle() const;

  unsigned submissions = 0;  ///< system calls that sent commands
  std::string violations;    ///< the server's violations of the driver's rules; empty: none
  int refuse_fetch = 0;      ///< an errno for each FETCH_REQ

 private:
  struct command {
    std::uint16_t tag;
    bool commits;
    std::int32_t result;
  };
  struct slot {
    bool with_kernel = false;
    bool was_fetched = false;
    std::shared_ptr<user_request> request;
  };
  struct completion {
    std::uint16_t tag;
    std::int32_t result;
  };
  void run();
  void carry_out(const command& c, std::vector<completion>& out);
  void deliver(std::vector<completion>& out);
  void blame(const std::string& text) { violations += text + "; "; }

  std::shared_ptr<played_device> device_;
  asio::any_io_executor executor_;
  std::uint16_t index_;
  queue_listener* listener_ = nullptr;
  std::vector<command> prepared_;
  std::vector<slot> slots_;
  bool is_running_ = false;
  bool again_ = false;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

/// The driver. Copies share the devices.
class played_driver final : public kernel_driver {
 public:
  std::uint64_t offered =
      f_cmd_ioctl_encode | f_user_copy | f_user_recovery | f_user_recovery_reissue;
  std::uint16_t most_queues = 4096;  ///< the number of CPUs
  std::vector<std::string> log;      ///< of commands, in order
  std::string failing;               ///< the name of a command that fails with EIO
  std::vector<std::shared_ptr<played_device>> devices;
  bool scans_partitions = true;  ///< START_DEV reads the first sectors

  /// For use while commands run: the last entry of the log.
  [[nodiscard]] std::string last();

  [[nodiscard]] std::uint64_t features() override;
  [[nodiscard]] dev_info add(const dev_info& wanted) override;
  void set_params(std::uint32_t index, const params& value) override;
  [[nodiscard]] params get_params(std::uint32_t index) override;
  [[nodiscard]] std::optional<dev_info> get_info(std::uint32_t index) override;
  [[nodiscard]] std::vector<std::uint32_t> device_numbers() override;
  void start(std::uint32_t index, std::int32_t process) override;
  void end_recovery(std::uint32_t index, std::int32_t process) override;
  [[nodiscard]] bool start_recovery(std::uint32_t index) override;
  [[nodiscard]] std::shared_ptr<kernel_device> open(std::uint32_t index) override;
  void stop(std::uint32_t index) override;
  void remove(std::uint32_t index) override;
  void update_size(std::uint32_t index, std::uint64_t sectors) override;
  void write_back(std::uint32_t index) override;
  void limit_requests(std::uint32_t index, std::uint32_t milliseconds) override;

 private:
  void enter(const std::string& command);
  [[nodiscard]] std::shared_ptr<played_device> find(std::uint32_t index, const char* command);
  void wait_for_tags(played_device& device);

  std::mutex mutex_;
};

}  // namespace xenpv::ublk::test
