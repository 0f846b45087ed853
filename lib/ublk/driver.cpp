#include "ublk/driver.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "base/device_opening.hpp"
#include "base/parse.hpp"
#include "ublk/control_ring.hpp"
#include "ublk/device_name.hpp"
#include "ublk/queue_ring.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::ublk {
namespace {

class open_device final : public kernel_device {
 public:
  explicit open_device(unique_fd file)
      : file_(std::make_shared<const unique_fd>(std::move(file))) {}

  [[nodiscard]] std::unique_ptr<kernel_queue> open_queue(const asio::any_io_executor& executor,
                                                         std::uint16_t index,
                                                         std::uint16_t depth) override {
    return open_queue_ring(executor, file_, index, depth);
  }

 private:
  std::shared_ptr<const unique_fd> file_;
};

/// Waits until the kernel has read the partition table. It does so in START_DEV or, in versions
/// that are newer than 6.12, in the background: the attribute partscan (Linux 6.10) is 0 until it
/// begins, and then an opening of the device waits until it has finished.
void wait_for_partitions(std::uint32_t index) {
  constexpr std::chrono::milliseconds pause(5);
  constexpr std::chrono::seconds limit(5);
  const auto attribute = fmt::format("/sys/block/{}/partscan", device_name(index));
  const auto has_begun = [&] {
    std::string value;
    return !std::getline(std::ifstream(attribute), value) || value != "0";
  };
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!has_begun() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(pause);
  device_opening opening(device_path(index), device_opening::purpose::scan);
  (void)opening.outcome();
}

template <class T>
std::uint64_t address_of(T& object) {
  return reinterpret_cast<std::uintptr_t>(&object);
}

class driver final : public kernel_driver {
 public:
  [[nodiscard]] std::uint64_t features() override {
    std::uint64_t out = 0;
    ctrl_cmd content;
    content.addr = address_of(out);
    content.len = sizeof out;
    const int code = ring_.send(control_command::get_features, content);
    if (code == -EOPNOTSUPP || code == -EINVAL || code == -ENODEV) return 0;
    check(control_command::get_features, any_device, code);
    return out;
  }

  [[nodiscard]] dev_info add(const dev_info& wanted) override {
    auto out = wanted;
    const int code = send_buffer(control_command::add_dev, wanted.dev_id, out);
    check(control_command::add_dev, wanted.dev_id, code);
    return out;
  }

  void set_params(std::uint32_t index, const params& value) override {
    auto copy = value;
    check(control_command::set_params, index,
          send_buffer(control_command::set_params, index, copy));
  }

  [[nodiscard]] params get_params(std::uint32_t index) override {
    params out;
    out.len = sizeof out;
    check(control_command::get_params, index, send_buffer(control_command::get_params, index, out));
    return out;
  }

  [[nodiscard]] std::optional<dev_info> get_info(std::uint32_t index) override {
    dev_info out;
    const int code = send_buffer(control_command::get_dev_info, index, out);
    if (code == -ENODEV) return std::nullopt;
    check(control_command::get_dev_info, index, code);
    return out;
  }

  [[nodiscard]] std::vector<std::uint32_t> device_numbers() override {
    constexpr std::string_view prefix = "ublkc";
    std::vector<std::uint32_t> out;
    for (const auto& entry : std::filesystem::directory_iterator("/dev")) {
      const auto name = entry.path().filename().string();
      if (!name.starts_with(prefix)) continue;
      const auto number = parse_whole<std::uint32_t>(std::string_view(name).substr(prefix.size()));
      if (number) out.push_back(*number);
    }
    return out;
  }

  void start(std::uint32_t index, std::int32_t process) override {
    run(control_command::start_dev, index, static_cast<std::uint64_t>(process));
    wait_for_partitions(index);
  }
  void end_recovery(std::uint32_t index, std::int32_t process) override {
    run(control_command::end_user_recovery, index, static_cast<std::uint64_t>(process));
  }

  [[nodiscard]] bool start_recovery(std::uint32_t index) override {
    ctrl_cmd content;
    content.dev_id = index;
    const int code = ring_.send(control_command::start_user_recovery, content);
    if (code == -EBUSY) return false;
    check(control_command::start_user_recovery, index, code);
    return true;
  }

  [[nodiscard]] std::shared_ptr<kernel_device> open(std::uint32_t index) override {
    const auto path = fmt::format("/dev/ublkc{}", index);
    unique_fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!file && errno == EBUSY) return nullptr;
    if (!file) throw_errno(fmt::format("open {}", path));
    return std::make_shared<open_device>(std::move(file));
  }

  void stop(std::uint32_t index) override { run(control_command::stop_dev, index, 0); }

  void remove(std::uint32_t index) override {
    ctrl_cmd content;
    content.dev_id = index;
    // Does not wait for the last user of /dev/ublkcN. Not in Linux before 6.9.
    int code = ring_.send(control_command::del_dev_async, content);
    if (code == -EOPNOTSUPP || code == -EINVAL)
      code = ring_.send(control_command::del_dev, content);
    check(control_command::del_dev, index, code);
  }

  void update_size(std::uint32_t index, std::uint64_t sectors) override {
    run(control_command::update_size, index, sectors);
  }

  void write_back(std::uint32_t index) override {
    const auto path = device_path(index);
    const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file || ::fsync(file.get()) != 0) throw_errno(fmt::format("write back {}", path));
  }

  void limit_requests(std::uint32_t index, std::uint32_t milliseconds) override {
    const auto path = fmt::format("/sys/block/{}/queue/io_timeout", device_name(index));
    std::ofstream file(path);
    if (!(file << milliseconds).flush()) throw_errno(fmt::format("write {}", path));
  }

 private:
  static void check(control_command command, std::uint32_t index, int code) {
    if (code >= 0) return;
    const auto object =
        index == any_device ? std::string() : fmt::format(" for {}", device_path(index));
    throw_errno(-code, fmt::format("ublk: {}{}", to_string(command), object),
                code == -EPERM ? "CAP_SYS_ADMIN is needed" : "");
  }

  template <class T>
  int send_buffer(control_command command, std::uint32_t index, T& buffer) {
    ctrl_cmd content;
    content.dev_id = index;
    content.addr = address_of(buffer);
    content.len = sizeof buffer;
    return ring_.send(command, content);
  }

  void run(control_command command, std::uint32_t index, std::uint64_t argument) {
    ctrl_cmd content;
    content.dev_id = index;
    content.data = argument;
    check(command, index, ring_.send(command, content));
  }

  control_ring ring_;
};

}  // namespace

bool is_loaded() {
  return ::access("/dev/ublk-control", F_OK) == 0;
}

std::shared_ptr<kernel_driver> open_driver() {
  return std::make_shared<driver>();
}

}  // namespace xenpv::ublk
