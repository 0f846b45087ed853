#include "root_operations.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/device_opening.hpp"
#include "blkfront/kernel_driver.hpp"
#include "kept_device.hpp"
#include "memory_lock.hpp"
#include "nbd/kernel_device.hpp"
#include "sandbox/call_filter.hpp"
#include "sandbox/privileges.hpp"
#include "ublk/device_name.hpp"
#include "ublk/driver.hpp"
#include "xen/custodian_link.hpp"
#include "xenpv/async/irq_affinity.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::disk_app {
namespace {

using sandbox::helper_operation;
using sandbox::helper_outcome;
using sandbox::helper_policy;
using sandbox::helper_request;
using descriptors_ref = const std::vector<unique_fd>&;

/// The name of the interrupts of an event-channel handle that a thread of xenpv-disk opened.
constexpr std::string_view interrupt_prefix = "evtchn:xenpv-disk";

helper_outcome set_irq_affinity(const helper_request& request) {
  const auto root = system_root::from_environment();
  const auto irq = static_cast<unsigned>(request.numbers[0]);
  const auto action = root.read(fmt::format("/sys/kernel/irq/{}/actions", irq));
  if (!action || !action->starts_with(interrupt_prefix))
    throw failure(std::make_error_code(std::errc::operation_not_permitted),
                  fmt::format("root helper: move IRQ {}", irq),
                  "it is not an event channel of xenpv-disk");
  const std::array cpus{static_cast<unsigned>(request.numbers[1])};
  helper_outcome out;
  out.value = static_cast<std::uint64_t>(async::write_irq_affinity(root, irq, cpus));
  return out;
}

helper_outcome start_custodian(const xen::custodian_program& program) {
  auto started = xen::execute_custodian(program);
  return {static_cast<std::uint64_t>(started.process), std::move(started.socket)};
}

void bind(const helper_policy::disk& disk) {
  blkfront::bind_to_kernel(static_cast<std::uint32_t>(disk.number),
                           fmt::format("return {} to the kernel driver", disk.name));
}

void unbind(const helper_policy::disk& disk) {
  blkfront::unbind_from_kernel(static_cast<std::uint32_t>(disk.number),
                               fmt::format("return {} to the kernel driver", disk.name));
}

/// Opens the device in a child process; the descriptor reports the outcome.
helper_outcome open_in_child(const std::string& path, bool write_back) {
  device_opening opening(
      system_root::from_environment().path(path).string(),
      write_back ? device_opening::purpose::write_back : device_opening::purpose::scan);
  return {0, opening.release()};
}

/// Carries out the operations on an NBD device.
class nbd_operator {
 public:
  helper_outcome run(helper_policy& policy, const helper_request& request,
                     descriptors_ref descriptors) {
    const auto operation = request.operation;
    const auto& numbers = request.numbers;
    const auto index = policy.kernel_device().index.value_or(0);
    if (operation == helper_operation::connect_device) return connect(policy, request, descriptors);
    if (operation == helper_operation::query_device) return query(policy);
    if (operation != helper_operation::enlarge_buffer) require_own_device(policy, operation);
    if (operation == helper_operation::open_device)
      return open_in_child(nbd::kernel_device_path(index), numbers[0] == 1);
    if (operation == helper_operation::replace_sockets)
      driver(policy).replace_sockets(index, numbers_of(descriptors),
                                     {.request = time_of(numbers[0]), .dead = time_of(numbers[1])});
    if (operation == helper_operation::resize_device)
      driver(policy).resize(index, numbers[0], static_cast<std::uint32_t>(numbers[1]));
    if (operation == helper_operation::disconnect_device) {
      driver(policy).disconnect(index);
      policy.device_disconnected();
    }
    if (operation == helper_operation::limit_requests)
      nbd::limit_kernel_requests(index,
                                 std::chrono::milliseconds(static_cast<std::int64_t>(numbers[0])));
    if (operation == helper_operation::prepare_queue)
      nbd::prepare_kernel_queue(index, static_cast<std::uint32_t>(numbers[0]));
    if (operation == helper_operation::enlarge_buffer) enlarge_buffer(descriptors.front().get());
    if (operation == helper_operation::remember_device) remember(policy, request);
    return {};
  }

 private:
  /// Refuses an operation on a device that has been disconnected by another process: its number may
  /// belong to another server now.
  void require_own_device(const helper_policy& policy, helper_operation operation) {
    const auto& device = policy.kernel_device();
    const auto index = device.index.value_or(0);
    // Older kernels (before 5.14) show no identifier.
    if (!shows_identifier_) shows_identifier_ = nbd::kernel_device_identifier(index).has_value();
    if (*shows_identifier_)
      nbd::require_kernel_device(index, device.identifier, "root helper: " + to_string(operation));
  }

  static std::optional<std::chrono::seconds> time_of(std::uint64_t seconds) {
    if (seconds == sandbox::no_time) return std::nullopt;
    return std::chrono::seconds(static_cast<std::int64_t>(seconds));
  }

  static std::vector<int> numbers_of(descriptors_ref descriptors) {
    std::vector<int> out;
    out.reserve(descriptors.size());
    for (const auto& descriptor : descriptors)
      out.push_back(descriptor.get());
    return out;
  }

  nbd::kernel_driver& driver(const helper_policy& policy) {
    if (!driver_) {
      driver_.emplace(nbd::kernel_driver::open());
      const auto& device = policy.kernel_device();
      if (device.is_connected)
        driver_->adopt(
            nbd::kernel_device_identifier(device.index.value_or(0)).value_or(std::string()));
    }
    return *driver_;
  }

  helper_outcome connect(helper_policy& policy, const helper_request& request,
                         descriptors_ref descriptors) {
    const auto& numbers = request.numbers;
    nbd::kernel_device_config config;
    config.index = policy.kernel_device().index;
    config.size = numbers[0];
    config.block_size = static_cast<std::uint32_t>(numbers[1]);
    config.flags = static_cast<std::uint16_t>(numbers[2]);
    config.timeout = *time_of(numbers[3]);
    config.dead_timeout = *time_of(numbers[4]);
    config.identifier = policy.kernel_device().identifier;
    config.sockets = numbers_of(descriptors);
    const auto index = driver(policy).connect(config);
    policy.device_connected(index);
    shows_identifier_ = nbd::kernel_device_identifier(index).has_value();
    return {index, {}};
  }

  helper_outcome query(const helper_policy& policy) {
    constexpr std::uint64_t missing = 2;
    const auto connected = driver(policy).is_connected(policy.kernel_device().index.value_or(0));
    if (!connected) return {missing, {}};
    return {*connected ? 1U : 0U, {}};
  }

  static void enlarge_buffer(int socket) {
    constexpr auto action = "root helper: enlarge the buffer of a socket";
    int domain = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) throw_errno(action);
    if (domain != AF_UNIX) throw failure(errc::invalid_argument, action, "not a Unix socket");
    nbd::enlarge_link_buffer(socket);
  }

  static void remember(const helper_policy& policy, const helper_request& request) {
    const auto& device = policy.kernel_device();
    kept_device kept;
    kept.device = {device_driver::nbd, device.index.value_or(0)};
    kept.connected_by = nbd::kernel_device_owner(kept.device.index).value_or(0);
    kept.connections = static_cast<std::size_t>(request.numbers[0]);
    kept.timeout = *time_of(request.numbers[1]);
    kept.identity = request.get_text();
    remember_device(disk_of_identifier(device.identifier), kept);
  }

  std::optional<nbd::kernel_driver> driver_;
  std::optional<bool> shows_identifier_;  ///< unset: not known yet
};

/// Carries out the operations on a ublk device.
class ublk_operator {
 public:
  helper_outcome run(helper_policy& policy, const helper_request& request) {
    const auto operation = request.operation;
    const auto& numbers = request.numbers;
    const auto index = policy.kernel_device().index.value_or(0);
    const auto state = require_own_device(policy, operation);
    if (operation == helper_operation::open_device)
      return open_in_child(ublk::device_path(index), numbers[0] == 1);
    if (operation == helper_operation::stop_device) driver().stop(index);
    if (operation == helper_operation::remove_device) {
      // The kernel would stop it first, and meanwhile refuse commands for any device.
      require_state(state, ublk::device_state::dead, policy, operation);
      driver().remove(index);
      policy.device_disconnected();
    }
    if (operation == helper_operation::resize_device) {
      // Kernels crash when a stopped device is resized.
      require_state(state, ublk::device_state::live, policy, operation);
      driver().update_size(index, numbers[0] / ublk::sector_bytes);
    }
    return {};
  }

  /// Opens the driver, so that a failure prevents the start of the server.
  void prepare() { (void)driver(); }

 private:
  /// Refuses an operation on a device that another process has removed: its number may belong to
  /// another server now.
  ublk::device_state require_own_device(const helper_policy& policy, helper_operation operation) {
    const auto& device = policy.kernel_device();
    const auto index = device.index.value_or(0);
    const auto found = driver().get_info(index);
    if (found && found->ublksrv_flags == device.token) return found->state;
    throw failure(make_error_code(errc::not_available), "root helper: " + to_string(operation),
                  fmt::format("{} {}", ublk::device_path(index),
                              found ? "now belongs to another server" : "was removed"));
  }

  static void require_state(ublk::device_state state, ublk::device_state expected,
                            const helper_policy& policy, helper_operation operation) {
    if (state == expected) return;
    throw failure(
        make_error_code(errc::not_available), "root helper: " + to_string(operation),
        fmt::format("{} is {}", ublk::device_path(policy.kernel_device().index.value_or(0)),
                    to_string(state)));
  }

  ublk::kernel_driver& driver() {
    if (!driver_) driver_ = ublk::open_driver();
    return *driver_;
  }

  std::shared_ptr<ublk::kernel_driver> driver_;
};

/// Carries out the operations on the kernel device.
class device_operator {
 public:
  helper_outcome run(helper_policy& policy, const helper_request& request,
                     descriptors_ref descriptors) {
    const auto operation = request.operation;
    const auto& device = policy.kernel_device();
    // These only change the policy, and there may be no device yet.
    if (operation == helper_operation::use_ublk_device) ublk_.prepare();
    if (operation == helper_operation::seal || operation == helper_operation::use_device ||
        operation == helper_operation::use_ublk_device)
      return {};
    if (operation == helper_operation::forget_device) {
      forget_device(disk_of_identifier(device.identifier));
      return {};
    }
    if (device.token) return ublk_.run(policy, request);
    return nbd_.run(policy, request, descriptors);
  }

 private:
  nbd_operator nbd_;
  ublk_operator ublk_;
};

/// The files that the helper removes. Their directories are opened during the preparation, because
/// their owners could replace a directory on the path by a symbolic link later.
class removed_files {
 public:
  void add(const std::string& path) {
    const auto directory = std::filesystem::path(path).parent_path();
    directories_.emplace_back(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  void remove(std::uint32_t index, const std::string& path) const {
    const auto name = std::filesystem::path(path).filename();
    ::unlinkat(directories_.at(index).get(), name.c_str(), 0);
  }

 private:
  std::vector<unique_fd> directories_;  ///< of each file; empty if it cannot be opened
};

/// Does nothing in a sanitizer build: in a forked process, ThreadSanitizer starts a thread that
/// cannot run the signal handlers with which each thread drops its capabilities.
void keep_only(sandbox::capability_set kept) {
  if (!sandbox::is_sanitized) sandbox::drop_privileges(std::nullopt, kept);
}

}  // namespace

std::unique_ptr<sandbox::root_helper> start_guest_helper(const std::string& mode, bool swap) {
  // Opened by the helper, which does not inherit descriptors.
  const auto program = std::make_shared<std::optional<xen::custodian_program>>();
  const auto prepare = [program, mode, swap] {
    // Memory locks are not inherited. A custodian locks its memory if its parent has done so.
    if (swap) protect_server(served_for::swap);
    program->emplace(xen::custodian_program::find()).set_sandbox(mode);
    // Custodians that the helper starts must be protected from the OOM killer and locked in memory
    // like the server. Sockets may be in other users' directories.
    keep_only({CAP_SYS_RESOURCE, CAP_IPC_LOCK, CAP_DAC_OVERRIDE});
  };
  const auto files = std::make_shared<removed_files>();
  return std::make_unique<sandbox::root_helper>(
      sandbox::helper_role::guest, "xenpv-helper", prepare,
      [program, files](helper_policy& policy, const helper_request& request,
                       descriptors_ref) -> helper_outcome {
        const auto operation = request.operation;
        if (operation == helper_operation::add_file) files->add(std::string(request.get_text()));
        if (operation == helper_operation::start_custodian) return start_custodian(**program);
        if (operation == helper_operation::set_irq_affinity) return set_irq_affinity(request);
        if (operation == helper_operation::remove_file)
          files->remove(request.index, policy.file_of(request));
        if (operation == helper_operation::bind_disk) bind(policy.disk_of(request));
        if (operation == helper_operation::unbind_disk) unbind(policy.disk_of(request));
        return {};
      });
}

std::unique_ptr<sandbox::root_helper> start_device_helper(bool swap) {
  const auto prepare = [swap] {
    if (swap) protect_server(served_for::swap);
    keep_only({CAP_SYS_ADMIN, CAP_NET_ADMIN});
  };
  const auto operated = std::make_shared<device_operator>();
  return std::make_unique<sandbox::root_helper>(
      sandbox::helper_role::device, "xenpv-device", prepare,
      [operated](helper_policy& policy, const helper_request& request,
                 descriptors_ref descriptors) {
        return operated->run(policy, request, descriptors);
      });
}

}  // namespace xenpv::disk_app
