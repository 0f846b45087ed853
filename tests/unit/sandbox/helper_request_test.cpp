// The requests that a root helper admits, tested without a process.
#include "sandbox/helper_request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::sandbox {
namespace {

helper_request make_request(helper_operation operation,
                            std::initializer_list<std::uint64_t> numbers = {},
                            std::string_view text = {}, std::uint32_t index = 0) {
  helper_request out;
  out.operation = operation;
  out.index = index;
  std::copy(numbers.begin(), numbers.end(), out.numbers.begin());
  out.set_text(text);
  return out;
}

/// The error of a request, or "admitted".
std::string verdict(helper_policy& policy, const helper_request& request,
                    std::size_t descriptors = 0) {
  const auto admitted = policy.admit(request, descriptors);
  return admitted ? "admitted" : admitted.error().text;
}

std::string refused(std::string_view operation, std::string_view reason) {
  return "root helper: refused " + std::string(operation) + ": protocol violation (" +
         std::string(reason) + ")";
}

/// A helper for one disk and one socket, sealed.
helper_policy sealed_guest() {
  helper_policy policy(helper_role::guest);
  EXPECT_EQ(verdict(policy, make_request(helper_operation::add_disk, {51728}, "xvdb")), "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::add_file, {}, "/run/xenpv/xvdb.sock")),
            "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::seal)), "admitted");
  return policy;
}

/// A helper for a device whose number the kernel chooses, sealed.
helper_policy sealed_device() {
  helper_policy policy(helper_role::device);
  EXPECT_EQ(
      verdict(policy, make_request(helper_operation::use_device, {any_device}, "xenpv-disk xvdb")),
      "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::seal)), "admitted");
  return policy;
}

std::span<const std::byte> bytes_of(const helper_request& request) {
  return std::as_bytes(std::span(&request, 1));
}

TEST(helper_request, is_decoded_only_with_its_exact_size) {
  const auto request = make_request(helper_operation::remove_file);
  const auto bytes = bytes_of(request);
  EXPECT_TRUE(decode_helper_request(bytes).has_value());
  EXPECT_EQ(decode_helper_request(bytes.first(bytes.size() - 1)).error().text,
            "decode a request to the root helper: protocol violation (1071 bytes, expected 1072)");
  std::vector<std::byte> longer(bytes.begin(), bytes.end());
  longer.emplace_back();
  EXPECT_FALSE(decode_helper_request(longer).has_value());
  EXPECT_FALSE(decode_helper_request({}).has_value());
}

TEST(helper_request, is_refused_with_an_unknown_operation) {
  const auto first_unknown = static_cast<std::uint32_t>(last_operation) + 1;
  for (const std::uint32_t number : {0U, first_unknown, 0xffff'ffffU}) {
    const auto request = make_request(static_cast<helper_operation>(number));
    EXPECT_EQ(decode_helper_request(bytes_of(request)).error().text,
              "decode a request to the root helper: protocol violation (unknown operation " +
                  std::to_string(number) + ")");
  }
}

TEST(helper_request, is_refused_if_its_text_does_not_end_with_zeros) {
  auto request = make_request(helper_operation::seal);
  request.text.fill('x');
  EXPECT_FALSE(decode_helper_request(bytes_of(request)).has_value());
  request.text.fill('\0');
  request.text.back() = 'x';
  EXPECT_FALSE(decode_helper_request(bytes_of(request)).has_value());
}

TEST(helper_policy, admits_the_disk_and_the_file_of_the_preparation) {
  auto policy = sealed_guest();
  for (const auto operation : {helper_operation::bind_disk, helper_operation::unbind_disk}) {
    const auto request = make_request(operation);
    EXPECT_EQ(verdict(policy, request), "admitted");
    EXPECT_EQ(policy.disk_of(request).number, 51728U);
  }
  EXPECT_EQ(policy.file_of(make_request(helper_operation::remove_file)), "/run/xenpv/xvdb.sock");
}

TEST(helper_policy, refuses_another_disk_and_another_file) {
  auto policy = sealed_guest();
  EXPECT_EQ(verdict(policy, make_request(helper_operation::bind_disk, {}, {}, 1)),
            refused("bind_disk", "no such disk"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::unbind_disk, {}, {}, 0xffff'ffff)),
            refused("unbind_disk", "no such disk"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::remove_file, {}, {}, 1)),
            refused("remove_file", "no such file"));
}

TEST(helper_policy, refuses_to_prepare_once_sealed) {
  auto policy = sealed_guest();
  EXPECT_EQ(verdict(policy, make_request(helper_operation::add_disk, {768}, "xvda")),
            refused("add_disk", "the preparation has ended"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::add_file, {}, "/etc/shadow")),
            refused("add_file", "the preparation has ended"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::seal)),
            refused("seal", "the preparation has ended"));
  auto device = sealed_device();
  EXPECT_EQ(verdict(device, make_request(helper_operation::use_device, {7})),
            refused("use_device", "the preparation has ended"));
}

TEST(helper_policy, refuses_paths_that_leave_their_directory) {
  helper_policy policy(helper_role::guest);
  for (const auto* const path : {"", "run/x", "/run/../etc/passwd", "/run/..", "/", "/run/"})
    EXPECT_EQ(verdict(policy, make_request(helper_operation::add_file, {}, path)),
              refused("add_file", "expected an absolute path"));
  for (const auto* const name : {"", "../xvdb", "xvd/b", "xvdb.", "XVDB"})
    EXPECT_EQ(verdict(policy, make_request(helper_operation::add_disk, {1}, name)),
              refused("add_disk", "malformed"));
}

TEST(helper_policy, refuses_the_operations_of_the_other_role) {
  auto guest = sealed_guest();
  EXPECT_EQ(verdict(guest, make_request(helper_operation::disconnect_device)),
            refused("disconnect_device", "another helper is for it"));
  auto device = sealed_device();
  EXPECT_EQ(verdict(device, make_request(helper_operation::start_custodian)),
            refused("start_custodian", "another helper is for it"));
}

TEST(helper_policy, refuses_surplus_and_missing_parts) {
  auto policy = sealed_guest();
  EXPECT_EQ(verdict(policy, make_request(helper_operation::start_custodian, {1})),
            refused("start_custodian", "surplus numbers"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::start_custodian, {}, "/bin/sh")),
            refused("start_custodian", "surplus text"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::set_irq_affinity, {1, 2}, {}, 3)),
            refused("set_irq_affinity", "surplus index"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::start_custodian), 1),
            refused("start_custodian", "wrong number of descriptors: 1"));
  auto device = sealed_device();
  const auto connect = make_request(helper_operation::connect_device, {1 << 20, 512, 1, 0, 30});
  EXPECT_EQ(verdict(device, connect), refused("connect_device", "wrong number of descriptors: 0"));
  EXPECT_EQ(verdict(device, connect, 65),
            refused("connect_device", "wrong number of descriptors: 65"));
}

TEST(helper_policy, refuses_numbers_out_of_range) {
  auto guest = sealed_guest();
  EXPECT_EQ(verdict(guest, make_request(helper_operation::set_irq_affinity, {1, 4096})),
            refused("set_irq_affinity", "out of range"));
  auto device = sealed_device();
  for (const auto block_size : {0U, 256U, 513U, 1U << 20U})
    EXPECT_EQ(
        verdict(device, make_request(helper_operation::connect_device, {4096, block_size}), 1),
        refused("connect_device", "out of range"));
  device.device_connected(3);
  EXPECT_EQ(verdict(device, make_request(helper_operation::limit_requests, {1ULL << 31U})),
            refused("limit_requests", "out of range"));
  for (const auto kilobytes : {0U, 32769U})
    EXPECT_EQ(verdict(device, make_request(helper_operation::prepare_queue, {kilobytes})),
              refused("prepare_queue", "out of range"));
  EXPECT_EQ(verdict(device, make_request(helper_operation::open_device, {2})),
            refused("open_device", "out of range"));
  EXPECT_EQ(verdict(device, make_request(helper_operation::remember_device, {0, 0}, "id")),
            refused("remember_device", "out of range"));
}

TEST(helper_policy, changes_only_a_connected_device_and_connects_only_one) {
  auto policy = sealed_device();
  for (const auto operation : {helper_operation::disconnect_device, helper_operation::query_device,
                               helper_operation::open_device, helper_operation::forget_device})
    EXPECT_EQ(verdict(policy, make_request(operation)),
              refused(to_string(operation), "the device is not connected"));
  const auto connect = make_request(helper_operation::connect_device, {1 << 20, 512, 1, 0, 30});
  EXPECT_EQ(verdict(policy, connect, 1), "admitted");
  policy.device_connected(3);
  EXPECT_EQ(policy.kernel_device().index, 3U);
  EXPECT_EQ(verdict(policy, connect, 1), refused("connect_device", "no device to connect"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::disconnect_device)), "admitted");
}

TEST(helper_policy, leaves_the_number_of_a_disconnected_device_to_others) {
  auto policy = sealed_device();
  policy.device_connected(3);
  policy.device_disconnected();
  for (const auto operation : {helper_operation::disconnect_device, helper_operation::open_device})
    EXPECT_EQ(verdict(policy, make_request(operation)),
              refused(to_string(operation), "the device has been disconnected"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::limit_requests, {1000})),
            refused("limit_requests", "the device has been disconnected"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::resize_device, {4096, 512})),
            refused("resize_device", "the device has been disconnected"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::connect_device, {4096, 512}), 1),
            refused("connect_device", "no device to connect"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::query_device)), "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::forget_device)), "admitted");
}

helper_policy sealed_ublk_device() {
  helper_policy policy(helper_role::device);
  EXPECT_EQ(verdict(policy, make_request(helper_operation::use_ublk_device, {3, 0x5EED},
                                         "xenpv-disk xvdb")),
            "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::seal)), "admitted");
  return policy;
}

TEST(helper_policy, changes_a_ublk_device_only_with_the_operations_of_its_driver) {
  auto policy = sealed_ublk_device();
  EXPECT_EQ(policy.kernel_device().index, 3U);
  EXPECT_EQ(policy.kernel_device().token, 0x5EEDU);
  for (const auto operation : {helper_operation::disconnect_device, helper_operation::query_device})
    EXPECT_EQ(verdict(policy, make_request(operation)),
              refused(to_string(operation), "it is a ublk device"));
  EXPECT_EQ(
      verdict(policy, make_request(helper_operation::connect_device, {1 << 20, 512, 1, 0, 30}), 1),
      refused("connect_device", "it is a ublk device"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::resize_device, {4096, 512})),
            "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::open_device, {1})), "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::open_device, {0})),
            refused("open_device", "out of range"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::limit_requests, {2000})),
            refused("limit_requests", "it is a ublk device"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::stop_device)), "admitted");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::remove_device)), "admitted");
  policy.device_disconnected();
  for (const auto operation : {helper_operation::stop_device, helper_operation::remove_device})
    EXPECT_EQ(verdict(policy, make_request(operation)),
              refused(to_string(operation), "the device has been disconnected"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::forget_device)), "admitted");
}

TEST(helper_policy, stops_and_removes_no_nbd_device) {
  auto policy = sealed_device();
  policy.device_connected(3);
  for (const auto operation : {helper_operation::stop_device, helper_operation::remove_device})
    EXPECT_EQ(verdict(policy, make_request(operation)),
              refused(to_string(operation), "it is not a ublk device"));
}

TEST(helper_policy, takes_one_device_of_either_driver) {
  helper_policy policy(helper_role::device);
  const auto use = make_request(helper_operation::use_ublk_device, {3, 0x5EED}, "xenpv-disk xvdb");
  EXPECT_EQ(verdict(policy, make_request(helper_operation::use_ublk_device, {3, 0}, "x")),
            refused("use_ublk_device", "out of range"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::use_ublk_device, {1 << 20, 1}, "x")),
            refused("use_ublk_device", "out of range"));
  EXPECT_EQ(verdict(policy, use), "admitted");
  EXPECT_EQ(verdict(policy, use), refused("use_ublk_device", "there is a device already"));
  EXPECT_EQ(verdict(policy, make_request(helper_operation::use_device, {sandbox::any_device}, "x")),
            refused("use_device", "there is a device already"));
}

TEST(helper_policy, connects_no_device_without_a_preparation) {
  helper_policy policy(helper_role::device);
  EXPECT_EQ(verdict(policy, make_request(helper_operation::connect_device, {4096, 512}), 1),
            refused("connect_device", "no device to connect"));
}

TEST(helper_reply, keeps_the_code_and_the_message_of_an_error) {
  helper_reply reply;
  EXPECT_FALSE(reply.get_error());
  reply.set_error(errc::not_available, "no driver");
  EXPECT_EQ(reply.get_error()->code, errc::not_available);
  EXPECT_EQ(reply.get_error()->text, "no driver");
  reply.set_error(std::make_error_code(std::errc::device_or_resource_busy), std::string(5000, 'x'));
  EXPECT_EQ(reply.get_error()->code, std::errc::device_or_resource_busy);
  EXPECT_EQ(reply.get_error()->text, std::string(helper_reply::longest_text, 'x'));
}

}  // namespace
}  // namespace xenpv::sandbox
