// Every protocol rule that applies to a single request, with the result that the specification
// requires.
#include "nbd/codec.hpp"

#include <gmock/gmock.h>

#include <cerrno>
#include <ostream>

#include "bytes.hpp"
#include "full_export.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using wire::nbd_command;
using wire::nbd_error;

constexpr std::uint16_t fua = 1, no_hole = 2, df = 4, fast_zero = 16;

export_info everything() {
  auto out = full_export(1024 * mib);
  out.zeroes_are_fast = true;
  return out;
}

constexpr session_terms simple{};
constexpr session_terms structured{true};

request_header ask(nbd_command type, std::uint64_t offset, std::uint32_t length,
                   std::uint16_t flags = 0) {
  return {flags, type, 0, offset, length};
}
nbd_error answer(const request_header& request, const export_info& exported = everything(),
                 session_terms terms = simple) {
  const auto out = check_request(request, exported, terms);
  EXPECT_FALSE(out.disconnect);
  EXPECT_EQ(out.reason.empty(), out.error == nbd_error::none);
  EXPECT_EQ(out.payload, request.type == nbd_command::write ? request.length : 0);
  return out.error;
}

const nbd_command with_range[] = {nbd_command::read, nbd_command::write, nbd_command::trim,
                                  nbd_command::write_zeroes};

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

TEST(check_request, accepts_valid_requests) {
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 0, 4096)), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1024 * mib - 1, 1)), nbd_error::none) << to_string(type);
  }
  EXPECT_EQ(answer(ask(nbd_command::flush, 0, 0)), nbd_error::none);
}

TEST(check_request, decides_about_plain_requests_like_the_single_rules) {
  const std::uint64_t numbers[] = {0,          1,
                                   511,        512,
                                   4096,       largest_request - 1,
                                   64 * mib,   largest_request + 1ULL,
                                   1024 * mib, 1024 * mib + 1,
                                   1ULL << 32, ~std::uint64_t{0}};
  unsigned plain = 0;
  for (const auto block : {1U, 512U})
    for (const bool read_only : {false, true}) {
      auto exported = everything();
      exported.minimum_block = block;
      exported.read_only = read_only;
      for (unsigned type = 0; type < 9; ++type)
        for (const std::uint16_t flags : {std::uint16_t{0}, fua, df, fast_zero})
          for (const auto offset : numbers)
            for (const auto length : numbers) {
              const request_header request{flags, static_cast<nbd_command>(type), 0, offset,
                                           length};
              if (is_plain_request(request, exported)) ++plain;
              for (const auto terms : {simple, structured, session_terms{true, true}})
                EXPECT_EQ(check_request(request, exported, terms),
                          check_rules(request, exported, terms))
                    << type << ' ' << flags << ' ' << offset << ' ' << length;
            }
    }
  EXPECT_GT(plain, 50U);
}

TEST(check_request, refuses_ranges_beyond_the_end_with_the_error_of_the_command) {
  const std::pair<nbd_command, nbd_error> all[] = {{nbd_command::read, nbd_error::einval},
                                                   {nbd_command::write, nbd_error::enospc},
                                                   {nbd_command::trim, nbd_error::einval},
                                                   {nbd_command::write_zeroes, nbd_error::enospc}};
  struct range {
    std::uint64_t offset;
    std::uint32_t length;
  };
  const range outside[] = {{1024 * mib, 1},
                           {1024 * mib - 1, 2},
                           {1024 * mib + 1, 1},
                           {~std::uint64_t{0}, 1},
                           {~std::uint64_t{0} - 4095, 4096},  // the end overflows to 0
                           {~std::uint64_t{0}, 4096},
                           {std::uint64_t{1} << 63U, 512}};
  for (const auto& [type, error] : all)
    for (const auto& [offset, length] : outside)
      EXPECT_EQ(answer(ask(type, offset, length)), error)
          << to_string(type) << ' ' << offset << ' ' << length;
}

TEST(check_request, accepts_empty_ranges_anywhere_within) {
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 0, 0)), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1024 * mib, 0)), nbd_error::none) << to_string(type);
  }
}

TEST(check_request, requires_the_advertised_alignment) {
  auto sectors = everything();
  sectors.minimum_block = 512;
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 512, 1024), sectors), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1, 512), sectors), nbd_error::einval) << to_string(type);
    EXPECT_EQ(answer(ask(type, 512, 100), sectors), nbd_error::einval) << to_string(type);
    EXPECT_EQ(answer(ask(type, 1, 1024 * 1024 + 14)), nbd_error::none) << to_string(type);
  }
}

TEST(check_request, refuses_writes_to_a_read_only_export) {
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

TEST(check_request, accepts_only_advertised_commands) {
  const export_info bare{.name = {}, .description = {}, .size = mib};
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 512), bare), nbd_error::none);
  EXPECT_EQ(answer(ask(nbd_command::write, 0, 512), bare), nbd_error::none);
  for (const auto type : {nbd_command::flush, nbd_command::trim, nbd_command::write_zeroes})
    EXPECT_EQ(answer(ask(type, 0, 512), bare), nbd_error::einval) << to_string(type);
}

TEST(check_request, refuses_unknown_commands_cache_and_block_status) {
  const verdict unknown{nbd_error::einval, 0, false, "unknown command"};
  for (const auto type : {nbd_command::cache, nbd_command::block_status, nbd_command{8},
                          nbd_command{9}, nbd_command{100}, nbd_command{65535}})
    for (const auto terms : {simple, structured})
      for (const std::uint32_t length : {0U, 512U, 0xFFFFFFFFU})
        EXPECT_EQ(check_request(ask(type, 0, length), everything(), terms), unknown)
            << static_cast<unsigned>(type);
}

TEST(check_request, accepts_each_flag_with_its_commands_only) {
  struct allowed {
    nbd_command type;
    unsigned flags;
  };
  const allowed all[] = {{nbd_command::read, fua | df},
                         {nbd_command::write, fua},
                         {nbd_command::flush, fua},
                         {nbd_command::trim, fua},
                         {nbd_command::write_zeroes, fua | no_hole | fast_zero}};
  for (const auto& [type, flags] : all) {
    for (unsigned bit = 0; bit < 16; ++bit) {
      const auto flag = static_cast<std::uint16_t>(1U << bit);
      const auto expected = (flags & flag) != 0 ? nbd_error::none : nbd_error::einval;
      EXPECT_EQ(answer(ask(type, 0, 512, flag), everything(), structured), expected)
          << to_string(type) << " bit " << bit;
    }
    EXPECT_EQ(
        answer(ask(type, 0, 512, static_cast<std::uint16_t>(flags)), everything(), structured),
        nbd_error::none);
  }
}

TEST(check_request, refuses_df_without_structured_replies) {
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 65536, df), everything(), simple), nbd_error::einval);
  EXPECT_EQ(answer(ask(nbd_command::read, 0, 65536, df), everything(), structured),
            nbd_error::none);
}

TEST(check_request, refuses_fua_that_was_not_advertised) {
  auto no_fua = everything();
  no_fua.can_fua = false;
  auto no_flush = everything();
  no_flush.can_flush = false;
  for (const auto type : with_range) {
    EXPECT_EQ(answer(ask(type, 0, 512, fua), no_fua), nbd_error::einval) << to_string(type);
    EXPECT_EQ(answer(ask(type, 0, 512, fua), no_flush), nbd_error::einval) << to_string(type);
  }
}

TEST(check_request, ignores_the_range_of_a_flush) {
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

TEST(check_request, accepts_payloads_of_up_to_64_mib) {
  for (const auto type : {nbd_command::read, nbd_command::write})
    for (const std::uint32_t length : {32U << 20U, (32U << 20U) + 4096, 49807360U, 64U << 20U})
      EXPECT_EQ(answer(ask(type, 0, length)), nbd_error::none) << to_string(type) << ' ' << length;
  EXPECT_EQ(answer(ask(nbd_command::read, 0, (64U << 20U) + 1)), nbd_error::eoverflow);
  // The payload of an oversized write must still be skipped; it must not be parsed as a request.
  EXPECT_EQ(answer(ask(nbd_command::write, 0, (64U << 20U) + 1)), nbd_error::einval);
  EXPECT_EQ(answer(ask(nbd_command::write, 0, 128U << 20U)), nbd_error::einval);
}

TEST(check_request, accepts_larger_commands_without_payload) {
  auto large = everything();
  large.size = std::uint64_t{1} << 40U;
  const auto last = large.size - 0xFFFFFFFF;
  for (const auto type : {nbd_command::trim, nbd_command::write_zeroes}) {
    EXPECT_EQ(answer(ask(type, 0, 0xFFFFFFFF), large), nbd_error::none) << to_string(type);
    EXPECT_EQ(answer(ask(type, last, 0xFFFFFFFF), large), nbd_error::none) << to_string(type);
    EXPECT_NE(answer(ask(type, last + 1, 0xFFFFFFFF), large), nbd_error::none) << to_string(type);
  }
}

TEST(check_request, disconnects_a_client_that_announces_an_oversized_payload) {
  for (const std::uint32_t length : {(128U << 20U) + 1, 0xFFFFFFFFU}) {
    const auto out = check_request(ask(nbd_command::write, 0, length), everything(), simple);
    EXPECT_TRUE(out.disconnect);
    EXPECT_EQ(out.payload, 0);
    EXPECT_EQ(out.reason, "a payload of more than 128 MiB");
  }
}

TEST(check_request, skips_the_payload_of_every_refused_write) {
  auto locked = everything();
  locked.read_only = true;
  auto sectors = everything();
  sectors.minimum_block = 512;
  struct refused {
    request_header request;
    export_info exported;
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
       {nbd_error::einval, 512, false, "a flag that is unknown or invalid for this command"}},
      {ask(nbd_command::write, 0, 100U << 20U),
       everything(),
       {nbd_error::einval, 100U << 20U, false, "a write of more than 64 MiB"}}};
  for (const auto& [request, exported, expected] : all) {
    const auto out = check_request(request, exported, simple);
    EXPECT_EQ(out, expected) << out.reason;
  }
}

TEST(check_request, accepts_every_disconnect) {
  const auto request = ask(nbd_command::disc, ~std::uint64_t{0}, 0xFFFFFFFF, 0xFFFF);
  EXPECT_EQ(check_request(request, {}, simple), verdict{});
}

TEST(to_nbd_error, maps_each_errno_to_a_protocol_error) {
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

TEST(to_nbd_error, maps_the_codes_of_the_library) {
  EXPECT_EQ(to_nbd_error(errc::invalid_argument), nbd_error::einval);
  for (const auto value : {errc::protocol_violation, errc::not_available, errc::limit_reached,
                           errc::lost_connection, errc::resumed, errc::timed_out})
    EXPECT_EQ(to_nbd_error(value), nbd_error::eio);
  EXPECT_EQ(to_nbd_error(std::make_error_code(std::errc::operation_canceled)),
            nbd_error::eshutdown);
}

}  // namespace
}  // namespace xenpv::nbd
