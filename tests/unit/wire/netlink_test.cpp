#include "wire/netlink.hpp"

#include <gtest/gtest.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <utility>

namespace xenpv::wire {
namespace {

// A member at the same offset and of the same size is the same member.
#define EXPECT_SAME_MEMBER(ours, our_member, linuxs, linux_member)       \
  EXPECT_EQ(offsetof(ours, our_member), offsetof(linuxs, linux_member)); \
  EXPECT_EQ(sizeof(std::declval<ours>().our_member), sizeof(std::declval<linuxs>().linux_member))

TEST(netlink_wire, headers_have_the_layout_of_linux) {
  EXPECT_EQ(sizeof(netlink_header), sizeof(nlmsghdr));
  EXPECT_SAME_MEMBER(netlink_header, length, nlmsghdr, nlmsg_len);
  EXPECT_SAME_MEMBER(netlink_header, type, nlmsghdr, nlmsg_type);
  EXPECT_SAME_MEMBER(netlink_header, flags, nlmsghdr, nlmsg_flags);
  EXPECT_SAME_MEMBER(netlink_header, sequence, nlmsghdr, nlmsg_seq);
  EXPECT_SAME_MEMBER(netlink_header, port, nlmsghdr, nlmsg_pid);
  EXPECT_EQ(sizeof(generic_netlink_header), sizeof(genlmsghdr));
  EXPECT_SAME_MEMBER(generic_netlink_header, command, genlmsghdr, cmd);
  EXPECT_SAME_MEMBER(generic_netlink_header, version, genlmsghdr, version);
  EXPECT_SAME_MEMBER(generic_netlink_header, reserved, genlmsghdr, reserved);
  EXPECT_EQ(sizeof(netlink_attribute_header), sizeof(nlattr));
  EXPECT_SAME_MEMBER(netlink_attribute_header, length, nlattr, nla_len);
  EXPECT_SAME_MEMBER(netlink_attribute_header, type, nlattr, nla_type);
  EXPECT_EQ(netlink_alignment, std::size_t{NLMSG_ALIGNTO});
  EXPECT_EQ(netlink_alignment, std::size_t{NLA_ALIGNTO});
}

TEST(netlink_wire, numbers_are_those_of_linux) {
  EXPECT_EQ(netlink_noop, NLMSG_NOOP);
  EXPECT_EQ(netlink_error, NLMSG_ERROR);
  EXPECT_EQ(netlink_done, NLMSG_DONE);
  EXPECT_EQ(netlink_overrun, NLMSG_OVERRUN);
  EXPECT_EQ(netlink_lowest_family, NLMSG_MIN_TYPE);
  EXPECT_EQ(netlink_flag_request, NLM_F_REQUEST);
  EXPECT_EQ(netlink_flag_multi, NLM_F_MULTI);
  EXPECT_EQ(netlink_flag_ack, NLM_F_ACK);
  EXPECT_EQ(netlink_flag_capped, NLM_F_CAPPED);
  EXPECT_EQ(netlink_flag_ack_tlvs, NLM_F_ACK_TLVS);
  EXPECT_EQ(netlink_attribute_nested, NLA_F_NESTED);
  EXPECT_EQ(netlink_attribute_net_byteorder, NLA_F_NET_BYTEORDER);
  EXPECT_EQ(netlink_error_attribute_message, NLMSGERR_ATTR_MSG);
}

TEST(netlink_wire, controller_is_that_of_linux) {
  EXPECT_EQ(controller_family, GENL_ID_CTRL);
  EXPECT_EQ(controller_new_family, CTRL_CMD_NEWFAMILY);
  EXPECT_EQ(controller_get_family, CTRL_CMD_GETFAMILY);
  EXPECT_EQ(controller_attribute_family_id, CTRL_ATTR_FAMILY_ID);
  EXPECT_EQ(controller_attribute_family_name, CTRL_ATTR_FAMILY_NAME);
  EXPECT_EQ(controller_attribute_groups, CTRL_ATTR_MCAST_GROUPS);
  EXPECT_EQ(controller_group_name, CTRL_ATTR_MCAST_GRP_NAME);
  EXPECT_EQ(controller_group_id, CTRL_ATTR_MCAST_GRP_ID);
}

TEST(netlink_wire, nbd_family_is_that_of_linux) {
  EXPECT_EQ(nbd_family, NBD_GENL_FAMILY_NAME);
  EXPECT_EQ(nbd_family_version, NBD_GENL_VERSION);
  EXPECT_EQ(nbd_family_group, NBD_GENL_MCAST_GROUP_NAME);
  EXPECT_EQ(nbd_socket_item, NBD_SOCK_ITEM);
  EXPECT_EQ(nbd_socket_fd, NBD_SOCK_FD);
  EXPECT_EQ(nbd_device_item, NBD_DEVICE_ITEM);
  EXPECT_EQ(nbd_device_index, NBD_DEVICE_INDEX);
  EXPECT_EQ(nbd_device_connected, NBD_DEVICE_CONNECTED);
}

TEST(netlink_wire, nbd_commands_have_linux_numbers_and_names) {
  struct known {
    nbd_driver_command ours;
    int linuxs;
    const char* name;
  };
  const known all[] = {
      {nbd_driver_command::connect, NBD_CMD_CONNECT, "NBD_CMD_CONNECT"},
      {nbd_driver_command::disconnect, NBD_CMD_DISCONNECT, "NBD_CMD_DISCONNECT"},
      {nbd_driver_command::reconfigure, NBD_CMD_RECONFIGURE, "NBD_CMD_RECONFIGURE"},
      {nbd_driver_command::link_dead, NBD_CMD_LINK_DEAD, "NBD_CMD_LINK_DEAD"},
      {nbd_driver_command::status, NBD_CMD_STATUS, "NBD_CMD_STATUS"},
  };
  for (const auto& [ours, linuxs, name] : all) {
    EXPECT_EQ(static_cast<int>(ours), linuxs) << name;
    EXPECT_EQ(to_string(ours), name);
  }
  EXPECT_EQ(std::size(all), static_cast<std::size_t>(NBD_CMD_MAX));
  EXPECT_EQ(to_string(nbd_driver_command{0}), "unknown command");
  EXPECT_EQ(to_string(nbd_driver_command{6}), "unknown command");
}

TEST(netlink_wire, nbd_attributes_have_linux_numbers) {
  const std::pair<nbd_attribute, int> all[] = {
      {nbd_attribute::index, NBD_ATTR_INDEX},
      {nbd_attribute::size_bytes, NBD_ATTR_SIZE_BYTES},
      {nbd_attribute::block_size_bytes, NBD_ATTR_BLOCK_SIZE_BYTES},
      {nbd_attribute::timeout, NBD_ATTR_TIMEOUT},
      {nbd_attribute::server_flags, NBD_ATTR_SERVER_FLAGS},
      {nbd_attribute::client_flags, NBD_ATTR_CLIENT_FLAGS},
      {nbd_attribute::sockets, NBD_ATTR_SOCKETS},
      {nbd_attribute::dead_conn_timeout, NBD_ATTR_DEAD_CONN_TIMEOUT},
      {nbd_attribute::device_list, NBD_ATTR_DEVICE_LIST},
      {nbd_attribute::backend_identifier, NBD_ATTR_BACKEND_IDENTIFIER},
  };
  for (const auto& [ours, linuxs] : all)
    EXPECT_EQ(static_cast<int>(ours), linuxs);
  EXPECT_EQ(std::size(all), static_cast<std::size_t>(NBD_ATTR_MAX));
}

#undef EXPECT_SAME_MEMBER

}  // namespace
}  // namespace xenpv::wire
