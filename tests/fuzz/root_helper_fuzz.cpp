// Requests from a compromised server to its root helper: whatever it sends, an admitted request
// refers only to the disk, file and device of the preparation, and is in range.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "sandbox/helper_request.hpp"
#include "steps.hpp"

namespace {

using namespace xenpv::sandbox;
using xenpv::fuzz::expect;

constexpr std::uint64_t token = 0x5eed;

enum class device_kind { none, nbd, ublk };

helper_policy make_policy(helper_role role, device_kind device) {
  helper_policy policy(role);
  helper_request request;
  if (role == helper_role::guest) {
    request.operation = helper_operation::add_disk;
    request.numbers[0] = 51728;
    request.set_text("xvdb");
    expect(policy.admit(request, 0).has_value());
    request = {};
    request.operation = helper_operation::add_file;
    request.set_text("/run/xenpv/xvdb.sock");
  } else {
    request.numbers[0] = 5;
    request.operation = helper_operation::use_device;
    if (device == device_kind::ublk) {
      request.operation = helper_operation::use_ublk_device;
      request.numbers[1] = token;
    }
    request.set_text("xenpv-disk xvdb");
  }
  expect(policy.admit(request, 0).has_value());
  request = {};
  request.operation = helper_operation::seal;
  expect(policy.admit(request, 0).has_value());
  return policy;
}

void check(helper_policy& policy, helper_role role, const helper_request& request,
           std::size_t descriptors) {
  const auto admitted = policy.admit(request, descriptors);
  if (!admitted) return expect(!admitted.error().text.empty());
  expect(request.operation > helper_operation::use_ublk_device);
  expect((request.operation >= helper_operation::connect_device) == (role == helper_role::device));
  if (request.operation == helper_operation::bind_disk ||
      request.operation == helper_operation::unbind_disk)
    expect(policy.disk_of(request).number == 51728);
  if (request.operation == helper_operation::remove_file)
    expect(policy.file_of(request) == "/run/xenpv/xvdb.sock");
  if (request.operation == helper_operation::connect_device) {
    expect(descriptors >= 1 && descriptors <= most_descriptors);
    policy.device_connected(5);
  }
  if (role != helper_role::device) return;
  const auto& device = policy.kernel_device();
  expect(device.index == 5U && (!device.token || *device.token == token));
  if (request.operation == helper_operation::stop_device ||
      request.operation == helper_operation::remove_device)
    expect(device.token.has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)decode_helper_reply(bytes);
  // The bytes are also used with the size of a request, because no other size gets further.
  for (const auto device : {device_kind::none, device_kind::nbd, device_kind::ublk}) {
    const auto role = device == device_kind::none ? helper_role::guest : helper_role::device;
    auto policy = make_policy(role, device);
    for (std::size_t at = 0; at < size || at == 0; at += sizeof(helper_request)) {
      helper_request request;
      const auto part = bytes.subspan(at, std::min(size - at, sizeof(helper_request)));
      if (!part.empty()) std::memcpy(&request, part.data(), part.size());
      const auto number = static_cast<std::uint32_t>(request.operation);
      request.operation =
          static_cast<helper_operation>(number % (static_cast<std::uint32_t>(last_operation) + 3));
      const auto decoded = decode_helper_request(std::as_bytes(std::span(&request, 1)));
      if (decoded) check(policy, role, *decoded, size % 70);
    }
  }
  if (const auto decoded = decode_helper_request(bytes))
    expect(decoded->get_text().find('\0') == std::string_view::npos);
  return 0;
}
