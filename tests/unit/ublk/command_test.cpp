// The encoding of commands, compared with values computed from the kernel's header and by hand.
#include "ublk/command.hpp"

#include <gtest/gtest.h>
#include <linux/ioctl.h>

#include <set>

namespace xenpv::ublk {
namespace {

TEST(ublk_command, encodes_control_commands_as_the_kernel_header_does) {
  using cmd = ctrl_cmd;
  EXPECT_EQ(opcode(control_command::get_dev_info), _IOR('u', 0x02, cmd));
  EXPECT_EQ(opcode(control_command::add_dev), _IOWR('u', 0x04, cmd));
  EXPECT_EQ(opcode(control_command::del_dev), _IOWR('u', 0x05, cmd));
  EXPECT_EQ(opcode(control_command::start_dev), _IOWR('u', 0x06, cmd));
  EXPECT_EQ(opcode(control_command::stop_dev), _IOWR('u', 0x07, cmd));
  EXPECT_EQ(opcode(control_command::set_params), _IOWR('u', 0x08, cmd));
  EXPECT_EQ(opcode(control_command::get_params), _IOR('u', 0x09, cmd));
  EXPECT_EQ(opcode(control_command::start_user_recovery), _IOWR('u', 0x10, cmd));
  EXPECT_EQ(opcode(control_command::end_user_recovery), _IOWR('u', 0x11, cmd));
  EXPECT_EQ(opcode(control_command::get_features), _IOR('u', 0x13, cmd));
  EXPECT_EQ(opcode(control_command::del_dev_async), _IOR('u', 0x14, cmd));
  EXPECT_EQ(opcode(control_command::update_size), _IOWR('u', 0x15, cmd));
  EXPECT_EQ(opcode(control_command::add_dev), 0xC0207504U);  // computed by hand
}

TEST(ublk_command, encodes_io_commands_as_the_kernel_header_does) {
  EXPECT_EQ(opcode(io_command::fetch_req), _IOWR('u', 0x20, io_cmd));
  EXPECT_EQ(opcode(io_command::commit_and_fetch_req), _IOWR('u', 0x21, io_cmd));
  EXPECT_EQ(opcode(io_command::fetch_req), 0xC0107520U);
}

TEST(ublk_command, places_the_data_of_each_tag_of_each_queue_at_its_own_position) {
  EXPECT_EQ(data_position(0, 0), 0x8000'0000U);
  EXPECT_EQ(data_position(0, 1), 0x8000'0000U + (1ULL << 25U));
  EXPECT_EQ(data_position(1, 0), 0x8000'0000U + (1ULL << 41U));
  std::set<std::uint64_t> seen;
  for (std::uint16_t queue = 0; queue < 8; ++queue)
    for (std::uint16_t tag = 0; tag < max_queue_depth; ++tag)
      EXPECT_TRUE(seen.insert(data_position(queue, tag)).second);
  // The largest request does not reach the next tag.
  EXPECT_EQ(data_position(0, 1) - data_position(0, 0), max_io_bytes);
}

TEST(ublk_command, maps_descriptors_in_whole_pages) {
  EXPECT_EQ(descriptors_position(0, 4096), 0U);
  EXPECT_EQ(descriptors_position(1, 4096), 4096U * 24);
  EXPECT_EQ(descriptors_position(1, 65536), 131072U);
  EXPECT_EQ(descriptors_size(1, 4096), 4096U);
  EXPECT_EQ(descriptors_size(170, 4096), 4096U);
  EXPECT_EQ(descriptors_size(171, 4096), 8192U);
  EXPECT_EQ(descriptors_size(4096, 4096), descriptors_position(1, 4096));
}

TEST(ublk_command, names_states_and_commands) {
  EXPECT_EQ(to_string(device_state::quiesced), "quiesced");
  EXPECT_EQ(to_string(static_cast<device_state>(9)), "state 9");
  EXPECT_EQ(to_string(control_command::end_user_recovery), "END_USER_RECOVERY");
}

}  // namespace
}  // namespace xenpv::ublk
