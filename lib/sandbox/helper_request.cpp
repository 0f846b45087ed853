#include "sandbox/helper_request.hpp"

#include <algorithm>
#include <cstring>

namespace xenpv::sandbox {
namespace {

/// Limits on what a server can add; it serves at most a few disks.
constexpr std::size_t most_disks = 256;
constexpr std::size_t most_files = 1024;
/// A minor number has 20 bits.
constexpr std::uint64_t largest_device = (1U << 20U) - 1;
constexpr std::uint64_t largest_irq = 1U << 20U;
constexpr std::uint64_t largest_cpu = 4095;
constexpr std::uint64_t longest_time = 100ULL * 365 * 24 * 3600;
/// Larger values of queue/io_timeout are negative for the kernel.
constexpr std::uint64_t largest_limit = 2147483647;
/// NBD's limit, 32 MiB.
constexpr std::uint64_t largest_request_kib = 32768;

/// The object of an operation.
enum class operation_object {
  helper,       ///< the helper itself; permitted in both roles
  guest,        ///< the resources of role `guest`
  device,       ///< the kernel device of role `device`
  nbd_device,   ///< likewise, if it is an NBD device
  ublk_device,  ///< likewise, if it is a ublk device
};

/// The shape of an operation's request; all that it does not use must be zero.
struct operation_rule {
  const char* name;
  operation_object object;
  bool is_preparation = false;
  std::size_t numbers = 0;
  bool has_text = false;
  bool has_index = false;
  std::size_t least_descriptors = 0;
  std::size_t most_descriptors = 0;
};

/// In the order of helper_operation, which begins at 1.
constexpr std::array<operation_rule, static_cast<std::size_t>(last_operation)> operation_rules = {{
    {.name = "seal", .object = operation_object::helper, .is_preparation = true},
    {.name = "add_disk",
     .object = operation_object::guest,
     .is_preparation = true,
     .numbers = 1,
     .has_text = true},
    {.name = "add_file",
     .object = operation_object::guest,
     .is_preparation = true,
     .has_text = true},
    {.name = "use_device",
     .object = operation_object::device,
     .is_preparation = true,
     .numbers = 2,
     .has_text = true},
    {.name = "use_ublk_device",
     .object = operation_object::device,
     .is_preparation = true,
     .numbers = 2,
     .has_text = true},
    {.name = "start_custodian", .object = operation_object::guest},
    {.name = "remove_file", .object = operation_object::guest, .has_index = true},
    {.name = "bind_disk", .object = operation_object::guest, .has_index = true},
    {.name = "unbind_disk", .object = operation_object::guest, .has_index = true},
    {.name = "set_irq_affinity", .object = operation_object::guest, .numbers = 2},
    {.name = "connect_device",
     .object = operation_object::nbd_device,
     .numbers = 5,
     .least_descriptors = 1,
     .most_descriptors = most_descriptors},
    {.name = "replace_sockets",
     .object = operation_object::nbd_device,
     .numbers = 2,
     .least_descriptors = 1,
     .most_descriptors = most_descriptors},
    {.name = "disconnect_device", .object = operation_object::nbd_device},
    {.name = "query_device", .object = operation_object::nbd_device},
    {.name = "enlarge_buffer",
     .object = operation_object::nbd_device,
     .least_descriptors = 1,
     .most_descriptors = 1},
    {.name = "limit_requests", .object = operation_object::nbd_device, .numbers = 1},
    {.name = "prepare_queue", .object = operation_object::nbd_device, .numbers = 1},
    {.name = "remember_device",
     .object = operation_object::nbd_device,
     .numbers = 2,
     .has_text = true},
    {.name = "stop_device", .object = operation_object::ublk_device},
    {.name = "remove_device", .object = operation_object::ublk_device},
    {.name = "resize_device", .object = operation_object::device, .numbers = 2},
    {.name = "open_device", .object = operation_object::device, .numbers = 1},
    {.name = "forget_device", .object = operation_object::device},
}};

bool is_for(operation_object object, helper_role role) {
  if (object == operation_object::helper) return true;
  return (object == operation_object::guest) == (role == helper_role::guest);
}

const operation_rule& rule_for(helper_operation operation) {
  return operation_rules.at(static_cast<std::size_t>(operation) - 1);
}

template <std::size_t Size>
bool ends_with_zeros(const std::array<char, Size>& text) {
  const auto end = std::find(text.begin(), text.end(), '\0');
  return end != text.end() && std::all_of(end, text.end(), [](char c) { return c == '\0'; });
}

bool is_block_size(std::uint64_t size) {
  return size >= 512 && size <= 65536 && (size & (size - 1)) == 0;
}

bool is_time(std::uint64_t seconds) {
  return seconds <= longest_time;
}

/// The name of a disk also names files: no slash, and no "..".
bool is_disk_name(std::string_view name) {
  return !name.empty() && name.size() <= 32 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

bool is_absolute_path(std::string_view path) {
  return path.size() > 1 && path.front() == '/' && path.find("/../") == std::string_view::npos &&
         !path.ends_with("/..") && !path.ends_with('/');
}

}  // namespace

std::string to_string(helper_operation operation) {
  const auto number = static_cast<std::uint32_t>(operation);
  if (number == 0 || operation > last_operation) return "operation " + std::to_string(number);
  return rule_for(operation).name;
}

void helper_request::set_text(std::string_view value) {
  if (value.size() > longest_text || value.find('\0') != std::string_view::npos)
    throw failure(errc::limit_reached, "pass text to the root helper",
                  "at most " + std::to_string(longest_text) + " bytes");
  text.fill('\0');
  std::copy(value.begin(), value.end(), text.begin());
}

std::string_view helper_request::get_text() const noexcept {
  return {text.data(), ::strnlen(text.data(), longest_text)};
}

void helper_reply::set_error(const std::error_code& code, std::string_view message) {
  error = code.value();
  is_errc = code.category() == xenpv::category() ? 1 : 0;
  // An error must not look like success.
  if (error == 0) error = 5;  // EIO
  text.fill('\0');
  std::copy_n(message.begin(), std::min(message.size(), longest_text), text.begin());
}

std::optional<xenpv::error> helper_reply::get_error() const {
  if (error == 0) return std::nullopt;
  const auto code = is_errc == 1 ? make_error_code(static_cast<errc>(error))
                                 : std::error_code(error, std::generic_category());
  return xenpv::error{code, std::string(text.data(), ::strnlen(text.data(), longest_text))};
}

result<helper_request> decode_helper_request(std::span<const std::byte> bytes) {
  constexpr auto action = "decode a request to the root helper";
  helper_request out;
  if (bytes.size() != sizeof out)
    return make_error(
        errc::protocol_violation, action,
        std::to_string(bytes.size()) + " bytes, expected " + std::to_string(sizeof out));
  std::memcpy(&out, bytes.data(), sizeof out);
  const auto number = static_cast<std::uint32_t>(out.operation);
  if (number == 0 || out.operation > last_operation)
    return make_error(errc::protocol_violation, action, "unknown " + to_string(out.operation));
  if (!ends_with_zeros(out.text))
    return make_error(errc::protocol_violation, action, "its text does not end with zeros");
  return out;
}

result<helper_reply> decode_helper_reply(std::span<const std::byte> bytes) {
  constexpr auto action = "decode a reply of the root helper";
  helper_reply out;
  if (bytes.size() != sizeof out)
    return make_error(
        errc::protocol_violation, action,
        std::to_string(bytes.size()) + " bytes, expected " + std::to_string(sizeof out));
  std::memcpy(&out, bytes.data(), sizeof out);
  if (!ends_with_zeros(out.text))
    return make_error(errc::protocol_violation, action, "its text does not end with zeros");
  return out;
}

result<void> helper_policy::admit(const helper_request& request, std::size_t descriptors) {
  const auto reason = find_objection(request, descriptors);
  if (!reason.empty())
    return make_error(errc::protocol_violation,
                      "root helper: refused " + to_string(request.operation), reason);
  if (rule_for(request.operation).is_preparation) prepare(request);
  return {};
}

std::string helper_policy::find_objection(const helper_request& request,
                                          std::size_t descriptors) const {
  const auto operation = request.operation;
  const auto& rule = rule_for(operation);
  if (!is_for(rule.object, role_)) return "another helper is for it";
  if (rule.is_preparation && sealed_) return "the preparation has ended";
  if (descriptors < rule.least_descriptors || descriptors > rule.most_descriptors)
    return "wrong number of descriptors: " + std::to_string(descriptors);
  const auto is_zero = [](std::uint64_t number) { return number == 0; };
  if (!std::all_of(request.numbers.begin() + static_cast<std::ptrdiff_t>(rule.numbers),
                   request.numbers.end(), is_zero))
    return "surplus numbers";
  if (!rule.has_text && !request.get_text().empty()) return "surplus text";
  if (!rule.has_index && request.index != 0) return "surplus index";
  if (rule.is_preparation) return object_to_preparation(request);
  if (rule.object == operation_object::guest) return object_to_guest(request);
  const bool is_ublk = device_.token.has_value();
  if (rule.object == (is_ublk ? operation_object::nbd_device : operation_object::ublk_device))
    return is_ublk ? "it is a ublk device" : "it is not a ublk device";
  return object_to_device(request);
}

std::string helper_policy::object_to_preparation(const helper_request& request) const {
  const auto number = request.numbers[0];
  const auto text = request.get_text();
  if (request.operation == helper_operation::add_disk) {
    if (!is_disk_name(text) || number > 0xffff'ffff) return "malformed";
    if (disks_.size() >= most_disks) return "too many disks";
  }
  if (request.operation == helper_operation::add_file) {
    if (!is_absolute_path(text)) return "expected an absolute path";
    if (files_.size() >= most_files) return "too many files";
  }
  if (request.operation == helper_operation::use_device) {
    if (has_device_) return "there is a device already";
    const bool has_number = number != any_device;
    if (request.numbers[1] > (has_number ? 1 : 0) || (has_number && number > largest_device))
      return "out of range";
  }
  if (request.operation == helper_operation::use_ublk_device) {
    if (has_device_) return "there is a device already";
    if (number > largest_device || request.numbers[1] == 0) return "out of range";
  }
  return {};
}

std::string helper_policy::object_to_guest(const helper_request& request) const {
  const auto operation = request.operation;
  if (operation == helper_operation::remove_file && request.index >= files_.size())
    return "no such file";
  const bool names_disk =
      operation == helper_operation::bind_disk || operation == helper_operation::unbind_disk;
  if (names_disk && request.index >= disks_.size()) return "no such disk";
  const bool is_in_range = request.numbers[0] <= largest_irq && request.numbers[1] <= largest_cpu;
  if (operation == helper_operation::set_irq_affinity && !is_in_range) return "out of range";
  return {};
}

std::string helper_policy::object_to_device(const helper_request& request) const {
  const auto& numbers = request.numbers;
  const auto is_time_or_none = [](std::uint64_t time) { return time == no_time || is_time(time); };
  const auto operation = request.operation;
  if (operation == helper_operation::enlarge_buffer) return {};
  bool is_in_range = true;
  if (operation == helper_operation::connect_device) {
    if (!has_device_ || device_.is_connected) return "no device to connect";
    is_in_range = numbers[0] > 0 && is_block_size(numbers[1]) && numbers[2] <= 0xffff &&
                  is_time(numbers[3]) && is_time(numbers[4]);
    return is_in_range ? "" : "out of range";
  }
  if (!device_.is_connected) return "the device is not connected";
  const bool only_reads =
      operation == helper_operation::query_device || operation == helper_operation::forget_device;
  if (device_.was_disconnected && !only_reads) return "the device has been disconnected";
  if (operation == helper_operation::replace_sockets)
    is_in_range = is_time_or_none(numbers[0]) && is_time_or_none(numbers[1]);
  if (operation == helper_operation::resize_device) is_in_range = is_block_size(numbers[1]);
  if (operation == helper_operation::open_device)
    is_in_range = numbers[0] <= 1 && (numbers[0] == 1 || !device_.token);
  if (operation == helper_operation::limit_requests)
    is_in_range = numbers[0] > 0 && numbers[0] <= largest_limit;
  if (operation == helper_operation::prepare_queue)
    is_in_range = numbers[0] > 0 && numbers[0] <= largest_request_kib;
  if (operation == helper_operation::remember_device)
    is_in_range = numbers[0] > 0 && numbers[0] <= most_descriptors && is_time(numbers[1]);
  return is_in_range ? "" : "out of range";
}

void helper_policy::prepare(const helper_request& request) {
  const auto number = request.numbers[0];
  if (request.operation == helper_operation::seal) sealed_ = true;
  if (request.operation == helper_operation::add_disk)
    disks_.push_back({number, std::string(request.get_text())});
  if (request.operation == helper_operation::add_file) files_.emplace_back(request.get_text());
  if (request.operation == helper_operation::use_device) {
    has_device_ = true;
    if (number != any_device) device_.index = static_cast<std::uint32_t>(number);
    device_.is_connected = request.numbers[1] == 1;
    device_.identifier = request.get_text();
  }
  if (request.operation == helper_operation::use_ublk_device) {
    has_device_ = true;
    device_.index = static_cast<std::uint32_t>(number);
    device_.is_connected = true;
    device_.token = request.numbers[1];
    device_.identifier = request.get_text();
  }
}

const helper_policy::disk& helper_policy::disk_of(const helper_request& request) const {
  return disks_.at(request.index);
}

const std::string& helper_policy::file_of(const helper_request& request) const {
  return files_.at(request.index);
}

void helper_policy::device_connected(std::uint32_t index) noexcept {
  device_.index = index;
  device_.is_connected = true;
}

void helper_policy::device_disconnected() noexcept {
  device_.was_disconnected = true;
}

}  // namespace xenpv::sandbox
