// Every rule of the protocol for a single request, with the answer the document wants.
#include "nbd/codec.hpp"

#include <gmock/gmock.h>

#include <cerrno>
#include <ostream>

#include "bytes.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using wire::nbd_command;
using wire::nbd_error;

constexpr std::uint16_t fua = 1, no_hole = 2, df = 4, req_one = 8, fast_zero = 16;

export_info everything() {
  export_info out;
  out.size = 1024 * mib;
  out.can_flush = out.can_fua = out.can_trim = out.can_write_zeroes = true;
  out.can_fast_zero = out.zeroes_are_fast = out.can_cache = out.can_multi_conn = true;
  return out;
}

constexpr session_terms simple{};
constexpr session_terms structured{true, false};
constexpr session_terms with_contexts{true, true};

request_header ask(nbd_command type, std::uint64_t offset, std::uint32_t length,
                   std::uint16_t flags = 0) {
  return {flags, type, 0, offset, length};
}
nbd_error answer(const request_header& request, const export_info& on = everything(),
                 session_terms terms = simple) {
  const auto out = check_request(request, on, terms);
  EXPECT_FALSE(out.disconnect);
  EXPECT_EQ(out.reason.empty(), out.error == nbd_error::none);
  EXPECT_EQ(out.payload, request.type == nbd_command::write ? request.length : 0);
  return out.error;
}

const nbd_command with_range[] = {nbd_command::read, nbd_command::write, nbd_command::trim,
                                  nbd_command::cache, nbd_command::write_zeroes};

TEST(decode_request, reads_every_field) {
  const auto bytes = unhex("25609513 0001 0006 0123456789abcdef fedcba9876543210 89abcdef");
  const auto request = decode_request(as_bytes(bytes).first<request_size>());
  ASSERT_TRUE(request);
  EXPECT_EQ(request->flags, 1);
  EXPECT_EQ(request->type, nbd_command::write_zeroes);
  EXPECT_EQ(request->cookie, 0x0123456789abcdefU);
  EXPECT_EQ(request->offset, 0xfedcba9876543210U);
  EXPECT_EQ(request->length, 0x89abcdefU);
}

TEST(decode_request, refuses_every_wrong_magic) {
  const auto right = unhex("25609513 0000 0000 0000000000000000 0000000000000000 00000000");
  ASSERT_TRUE(decode_request(as_bytes(right).first<request_size>()));
  for (unsigned bit = 0; bit < 32; ++bit) {
    auto wrong = right;
    wrong[bit / 8] = static_cast<char>(wrong[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(decode_request(as_bytes(wrong).first<request_size>())) << bit;
  }
}

TEST(check_request, passes_what_is_in_order) {
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 0, 4096)), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1024 * mib - 1, 1)), nbd_error::none) << to_string(type);
  }
  EXPECT_EQ(answer(ask(nbd_command::flush, 0, 0)), nbd_error::none);
  EXPECT_EQ(answer(ask(nbd_command::block_status, 0, 512), everything(), with_contexts),
            nbd_error::none);
}

TEST(check_request, says_which_way_a_range_is_beyond_the_end) {
  const std::pair<nbd_command, nbd_error> all[] = {{nbd_command::read, nbd_error::einval},
                                                   {nbd_command::write, nbd_error::enospc},
                                                   {nbd_command::trim, nbd_error::einval},
                                                   {nbd_command::cache, nbd_error::einval},
                                                   {nbd_command::write_zeroes, nbd_error::enospc},
                                                   {nbd_command::block_status, nbd_error::einval}};
  struct stretch {
    std::uint64_t offset;
    std::uint32_t length;
  };
  const stretch outside[] = {{1024 * mib, 1},
                             {1024 * mib - 1, 2},
                             {1024 * mib + 1, 1},
                             {~std::uint64_t{0}, 1},
                             {~std::uint64_t{0} - 4095, 4096},  // ends at 2^64, which is 0
                             {~std::uint64_t{0}, 4096},
                             {std::uint64_t{1} << 63U, 512}};
  for (const auto& [type, error] : all)
    for (const auto& [offset, length] : outside)
      EXPECT_EQ(answer(ask(type, offset, length), everything(), with_contexts), error)
          << to_string(type) << ' ' << offset << ' ' << length;
}

TEST(check_request, takes_a_status_of_4_gib_at_the_very_end) {
  auto large = everything();
  large.size = std::uint64_t{1} << 40U;
  const auto begin = large.size - 0xFFFFFFFF;
  const auto type = nbd_command::block_status;
  EXPECT_EQ(answer(ask(type, begin, 0xFFFFFFFF), large, with_contexts), nbd_error::none);
  EXPECT_EQ(answer(ask(type, begin + 1, 0xFFFFFFFF), large, with_contexts), nbd_error::einval);
}

TEST(check_request, lets_no_bytes_succeed_anywhere_within) {
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 0, 0)), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1024 * mib, 0)), nbd_error::none) << to_string(type);
  }
  EXPECT_EQ(answer(ask(nbd_command::block_status, 0, 0), everything(), with_contexts),
            nbd_error::einval);
}

TEST(check_request, wants_the_advertised_alignment) {
  auto sectors = everything();
  sectors.minimum_block = 512;
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 512, 1024), sectors), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1, 512), sectors), nbd_error::einval) << to_string(type);
    EXPECT_EQ(answer(ask(type, 512, 100), sectors), nbd_error::einval) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1, 1024 * 1024 + 14)), nbd_error::none) << to_string(type);
  }
}

TEST(check_request, lets_nothing_write_to_a_read_only_export) {
  auto locked = everything();
  locked.read_only = true;
  for (const auto type : {nbd_command::write, nbd_command::trim, nbd_command::write_zeroes}) {
    EXPECT_EQ(answer(ask(type, 0, 512), locked), nbd_error::eperm) << to_string(type);
    EXPECT_EQ(answer(ask(type, ~std::uint64_t{0}, 512, 0x8000), locked), nbd_error::eperm);
  }
  locked.can_trim = locked.can_write_zeroes = false;
  EXPECT_EQ(answer(ask(nbd_command::trim, 0, 512), locked), nbd_error::eperm);
  EXPECT_EQ(answer(ask(nbd_command::write_zeroes, 0, 512), locked), nbd_error::eperm);
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 512), locked), nbd_error::none);
  EXPECT_EQ(answer(ask(nbd_command::flush, 0, 0), locked), nbd_error::none);
}

TEST(check_request, takes_only_what_was_advertised) {
  const export_info bare{.name = {}, .description = {}, .size = mib, .contexts = {}};
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 512), bare), nbd_error::none);
  EXPECT_EQ(answer(ask(nbd_command::write, 0, 512), bare), nbd_error::none);
  for (const auto type : {nbd_command::flush, nbd_command::trim, nbd_command::cache,
                          nbd_command::write_zeroes, nbd_command::block_status})
    EXPECT_EQ(answer(ask(type, 0, 512), bare), nbd_error::einval) << to_string(type);
}

TEST(check_request, does_not_know_other_commands) {
  for (const unsigned type : {8U, 9U, 100U, 65535U})
    EXPECT_EQ(answer(ask(static_cast<nbd_command>(type), 0, 512), everything(), with_contexts),
              nbd_error::einval);
}

TEST(check_request, wants_a_context_for_block_status) {
  const auto request = ask(nbd_command::block_status, 0, 512);
  EXPECT_EQ(answer(request, everything(), simple), nbd_error::einval);
  EXPECT_EQ(answer(request, everything(), structured), nbd_error::einval);
}

TEST(check_request, takes_each_flag_with_its_commands_only) {
  struct allowed {
    nbd_command type;
    unsigned flags;
  };
  const allowed all[] = {{nbd_command::read, fua | df},
                         {nbd_command::write, fua},
                         {nbd_command::flush, fua},
                         {nbd_command::trim, fua},
                         {nbd_command::cache, fua},
                         {nbd_command::write_zeroes, fua | no_hole | fast_zero},
                         {nbd_command::block_status, fua | req_one}};
  for (const auto& [type, flags] : all) {
    for (unsigned bit = 0; bit < 16; ++bit) {
      const auto flag = static_cast<std::uint16_t>(1U << bit);
      const auto expected = (flags & flag) != 0 ? nbd_error::none : nbd_error::einval;
      EXPECT_EQ(answer(ask(type, 0, 512, flag), everything(), with_contexts), expected)
          << to_string(type) << " bit " << bit;
    }
    EXPECT_EQ(
        answer(ask(type, 0, 512, static_cast<std::uint16_t>(flags)), everything(), with_contexts),
        nbd_error::none);
  }
}

TEST(check_request, takes_no_df_without_structured_replies) {
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 65536, df), everything(), simple), nbd_error::einval);
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 65536, df), everything(), structured),
            nbd_error::none);
}

TEST(check_request, takes_no_fua_that_it_did_not_advertise) {
  auto no_fua = everything();
  no_fua.can_fua = false;
  auto no_flush = everything();
  no_flush.can_flush = false;
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 0, 512, fua), no_fua), nbd_error::einval) << to_string(type);
    EXPECT_EQ(answer(ask(type, 0, 512, fua), no_flush), nbd_error::einval) << to_string(type);
  }
}

TEST(check_request, does_not_care_where_a_flush_is) {
  EXPECT_EQ(answer(ask(nbd_command::flush, ~std::uint64_t{0}, 0xFFFFFFFF)), nbd_error::none);
  auto sectors = everything();
  sectors.minimum_block = 512;
  EXPECT_EQ(answer(ask(nbd_command::flush, 7, 3), sectors), nbd_error::none);
}

TEST(check_request, answers_fast_zeroes_that_are_not_fast_with_enotsup) {
  auto slow = everything();
  slow.zeroes_are_fast = false;
  EXPECT_EQ(answer(ask(nbd_command::write_zeroes, 0, 512, fast_zero), slow), nbd_error::enotsup);
  EXPECT_EQ(answer(ask(nbd_command::write_zeroes, 0, 512), slow), nbd_error::none);
  EXPECT_EQ(answer(ask(nbd_command::write_zeroes, 2048 * mib, 512, fast_zero), slow),
            nbd_error::enospc);
  slow.can_fast_zero = false;
  EXPECT_EQ(answer(ask(nbd_command::write_zeroes, 0, 512, fast_zero), slow), nbd_error::einval);
}

TEST(check_request, carries_out_what_has_up_to_64_mib) {
  for (const auto type : {nbd_command::read, nbd_command::write})
    for (const std::uint32_t length : {32U << 20U, (32U << 20U) + 4096, 49807360U, 64U << 20U})
      EXPECT_EQ(answer(ask(type, 0, length)), nbd_error::none) << to_string(type) << ' ' << length;
  EXPECT_EQ(answer(ask(nbd_command::read, 0, (64U << 20U) + 1)), nbd_error::eoverflow);
  // The payload of these is still to be skipped, and never taken for a request.
  EXPECT_EQ(answer(ask(nbd_command::write, 0, (64U << 20U) + 1)), nbd_error::einval);
  EXPECT_EQ(answer(ask(nbd_command::write, 0, 128U << 20U)), nbd_error::einval);
}

TEST(check_request, lets_commands_without_payload_be_larger) {
  auto large = everything();
  large.size = std::uint64_t{1} << 40U;
  for (const auto type : {nbd_command::trim, nbd_command::write_zeroes, nbd_command::cache})
    EXPECT_EQ(answer(ask(type, 0, 0xFFFFFFFF), large), nbd_error::none) << to_string(type);
}

TEST(check_request, drops_who_announces_an_endless_payload) {
  for (const std::uint32_t length : {(128U << 20U) + 1, 0xFFFFFFFFU}) {
    const auto out = check_request(ask(nbd_command::write, 0, length), everything(), simple);
    EXPECT_TRUE(out.disconnect);
    EXPECT_EQ(out.payload, 0);
    EXPECT_EQ(out.reason, "a write of more than 128 MiB");
  }
}

TEST(check_request, has_the_payload_of_every_refused_write_consumed) {
  auto locked = everything();
  locked.read_only = true;
  auto sectors = everything();
  sectors.minimum_block = 512;
  struct refused {
    request_header request;
    export_info on;
    verdict expected;
  };
  const refused all[] = {
      {ask(nbd_command::write, 0, 4096),
       locked,
       {nbd_error::eperm, 4096, false, "the export is read-only"}},
      {ask(nbd_command::write, 1024 * mib, 512),
       everything(),
       {nbd_error::enospc, 512, false, "beyond the end of the export"}},
      {ask(nbd_command::write, 1, 512),
       sectors,
       {nbd_error::einval, 512, false, "not aligned to the minimum block size"}},
      {ask(nbd_command::write, 0, 512, 0x8000),
       everything(),
       {nbd_error::einval, 512, false, "a flag that is unknown or not valid for this command"}},
      {ask(nbd_command::write, 0, 100U << 20U),
       everything(),
       {nbd_error::einval, 100U << 20U, false, "a write of more than 64 MiB"}}};
  for (const auto& [request, on, expected] : all) {
    const auto out = check_request(request, on, simple);
    EXPECT_EQ(out, expected) << out.reason;
  }
}

TEST(check_request, lets_everybody_disconnect) {
  const auto request = ask(nbd_command::disc, ~std::uint64_t{0}, 0xFFFFFFFF, 0xFFFF);
  EXPECT_EQ(check_request(request, {}, simple), verdict{});
}

TEST(to_nbd_error, has_the_errno_say_it_in_one_of_eight) {
  const std::pair<int, nbd_error> all[] = {{0, nbd_error::none},
                                           {EPERM, nbd_error::eperm},
                                           {EACCES, nbd_error::eperm},
                                           {EROFS, nbd_error::eperm},
                                           {EIO, nbd_error::eio},
                                           {ENOMEDIUM, nbd_error::eio},
                                           {ETIMEDOUT, nbd_error::eio},
                                           {ENXIO, nbd_error::eio},
                                           {EBADF, nbd_error::eio},
                                           {EAGAIN, nbd_error::eio},
                                           {ENOMEM, nbd_error::enomem},
                                           {EINVAL, nbd_error::einval},
                                           {ENOTSUP, nbd_error::einval},
                                           {EOVERFLOW, nbd_error::einval},
                                           {ENOSYS, nbd_error::einval},
                                           {ENOSPC, nbd_error::enospc},
                                           {EDQUOT, nbd_error::enospc},
                                           {EFBIG, nbd_error::enospc},
                                           {ESHUTDOWN, nbd_error::eshutdown},
                                           {ECANCELED, nbd_error::eshutdown}};
  for (const auto& [value, expected] : all) {
    EXPECT_EQ(errno_to_nbd_error(value), expected) << value;
    EXPECT_EQ(to_nbd_error({value, std::system_category()}), expected) << value;
    EXPECT_EQ(to_nbd_error({value, std::generic_category()}), expected) << value;
  }
}

TEST(to_nbd_error, knows_our_own_conditions) {
  EXPECT_EQ(to_nbd_error(errc::invalid_argument), nbd_error::einval);
  for (const auto value : {errc::protocol_violation, errc::not_available, errc::limit_reached,
                           errc::lost_connection, errc::resumed, errc::timed_out})
    EXPECT_EQ(to_nbd_error(value), nbd_error::eio);
  EXPECT_EQ(to_nbd_error(std::make_error_code(std::errc::operation_canceled)),
            nbd_error::eshutdown);
}

}  // namespace
}  // namespace xenpv::nbd
