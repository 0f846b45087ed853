#include "wire/xs.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

// The Xen header defines its list of errnos only if <cerrno> is included first.
#include <xen/io/xs_wire.h>

namespace xenpv::wire {
namespace {

TEST(xs_wire, header_has_the_layout_of_xen) {
  EXPECT_EQ(sizeof(xs_message_header), sizeof(xsd_sockmsg));
  EXPECT_EQ(offsetof(xs_message_header, type), offsetof(xsd_sockmsg, type));
  EXPECT_EQ(offsetof(xs_message_header, req_id), offsetof(xsd_sockmsg, req_id));
  EXPECT_EQ(offsetof(xs_message_header, tx_id), offsetof(xsd_sockmsg, tx_id));
  EXPECT_EQ(offsetof(xs_message_header, len), offsetof(xsd_sockmsg, len));
  EXPECT_EQ(sizeof(xs_message_header::type), sizeof(xsd_sockmsg::type));
  EXPECT_EQ(alignof(xs_message_header), alignof(xsd_sockmsg));
}

TEST(xs_wire, header_has_its_bytes_in_order) {
  if (std::endian::native != std::endian::little) GTEST_SKIP() << "expects little endian";
  const xs_message_header header{xs_type::set_target, 0x04030201, 0x14131211, 0x24232221};
  std::array<unsigned char, 16> bytes{};
  std::memcpy(bytes.data(), &header, sizeof header);
  const std::array<unsigned char, 16> golden = {0x13, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04,
                                                0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24};
  EXPECT_EQ(bytes, golden);

  xs_message_header back{};
  std::memcpy(&back, golden.data(), sizeof back);
  EXPECT_EQ(back.type, xs_type::set_target);
  EXPECT_EQ(back.req_id, 0x04030201U);
  EXPECT_EQ(back.tx_id, 0x14131211U);
  EXPECT_EQ(back.len, 0x24232221U);
}

TEST(xs_wire, types_have_the_numbers_and_names_of_xen) {
  struct known {
    xs_type ours;
    xsd_sockmsg_type xens;
    const char* name;
  };
  const known all[] = {
      {xs_type::control, XS_CONTROL, "control"},
      {xs_type::directory, XS_DIRECTORY, "directory"},
      {xs_type::read, XS_READ, "read"},
      {xs_type::get_perms, XS_GET_PERMS, "get_perms"},
      {xs_type::watch, XS_WATCH, "watch"},
      {xs_type::unwatch, XS_UNWATCH, "unwatch"},
      {xs_type::transaction_start, XS_TRANSACTION_START, "transaction_start"},
      {xs_type::transaction_end, XS_TRANSACTION_END, "transaction_end"},
      {xs_type::introduce, XS_INTRODUCE, "introduce"},
      {xs_type::release, XS_RELEASE, "release"},
      {xs_type::get_domain_path, XS_GET_DOMAIN_PATH, "get_domain_path"},
      {xs_type::write, XS_WRITE, "write"},
      {xs_type::mkdir, XS_MKDIR, "mkdir"},
      {xs_type::rm, XS_RM, "rm"},
      {xs_type::set_perms, XS_SET_PERMS, "set_perms"},
      {xs_type::watch_event, XS_WATCH_EVENT, "watch_event"},
      {xs_type::error, XS_ERROR, "error"},
      {xs_type::is_domain_introduced, XS_IS_DOMAIN_INTRODUCED, "is_domain_introduced"},
      {xs_type::resume, XS_RESUME, "resume"},
      {xs_type::set_target, XS_SET_TARGET, "set_target"},
      {xs_type::reset_watches, XS_RESET_WATCHES, "reset_watches"},
      {xs_type::directory_part, XS_DIRECTORY_PART, "directory_part"},
  };
  for (const auto& [ours, xens, name] : all) {
    EXPECT_EQ(static_cast<unsigned>(ours), static_cast<unsigned>(xens)) << name;
    EXPECT_EQ(to_string(ours), name);
  }
  // Number 20 (XS_RESTRICT) was removed; it is the only gap in the list.
  EXPECT_EQ(std::size(all), static_cast<std::size_t>(XS_TYPE_COUNT) - 1);
  EXPECT_EQ(to_string(xs_type{20}), "unknown");
  EXPECT_EQ(to_string(xs_type{XS_INVALID}), "unknown");
}

TEST(xs_wire, limits_are_the_limits_of_xen) {
  EXPECT_EQ(xs_payload_max, static_cast<std::size_t>(XENSTORE_PAYLOAD_MAX));
  EXPECT_EQ(xs_abs_path_max, static_cast<std::size_t>(XENSTORE_ABS_PATH_MAX));
  EXPECT_EQ(xs_rel_path_max, static_cast<std::size_t>(XENSTORE_REL_PATH_MAX));
}

TEST(xs_wire, errors_have_the_names_of_xen) {
  for (const auto& [number, name] : xsd_errors)
    EXPECT_EQ(xs_error_name(number), name);
  EXPECT_EQ(xs_error_name(ENOTCONN), "EINVAL") << "xenstored has no name for ENOTCONN";
  EXPECT_EQ(xs_error_name(0), "EINVAL");
}

}  // namespace
}  // namespace xenpv::wire
