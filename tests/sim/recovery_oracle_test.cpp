// Tests which disk contents the recovery oracle allows.
#include <gmock/gmock.h>

#include <array>

#include "sim/recovery_oracle.hpp"

namespace xenpv::blkfront {
namespace {

using ::testing::HasSubstr;
using outcome = recovery_oracle::outcome;

class recovery_oracle_cell : public ::testing::Test {
 protected:
  recovery_oracle::write begin() { return oracle_.begin_write(0, 1); }
  recovery_oracle::write done(outcome result = outcome::done) {
    auto out = begin();
    oracle_.end_write(out, result);
    return out;
  }
  void flush(bool succeeds = true) { oracle_.end_flush(oracle_.begin_flush(), succeeds); }
  void cut_power() {
    oracle_.begin_power_cut();
    oracle_.end_power_cut();
  }
  std::string read(const recovery_oracle::write& record) {
    return end_read(oracle_.begin_read(), record);
  }
  std::string end_read(recovery_oracle::moment begun, const recovery_oracle::write& record) {
    std::array<std::byte, recovery_oracle::cell_size> bytes{};
    if (record) recovery_oracle::fill(bytes, 0, record);
    return oracle_.end_read(begun, 0, bytes);
  }
  recovery_oracle oracle_{1};
};

TEST_F(recovery_oracle_cell, may_hold_anything_until_written) {
  EXPECT_EQ(read(nullptr), "");
  done();
  EXPECT_THAT(read(nullptr), HasSubstr("which is not the data of an allowed write"));
}

TEST_F(recovery_oracle_cell, holds_the_last_completed_write) {
  const auto first = done();
  const auto second = done();
  EXPECT_EQ(read(second), "");
  EXPECT_THAT(read(first), HasSubstr("although write"));
}

TEST_F(recovery_oracle_cell, may_hold_either_of_two_concurrent_writes) {
  const auto first = begin();
  const auto second = begin();
  oracle_.end_write(second, outcome::done);
  oracle_.end_write(first, outcome::done);
  EXPECT_EQ(read(first), "");
  EXPECT_EQ(read(second), "");
}

TEST_F(recovery_oracle_cell, may_hold_a_failed_write_until_another_completes) {
  const auto before = done();
  const auto failed = done(outcome::failed);
  EXPECT_EQ(read(before), "");
  EXPECT_EQ(read(failed), "");
  const auto after = done();
  EXPECT_EQ(read(after), "");
  EXPECT_NE(read(failed), "");
  EXPECT_NE(read(before), "");
}

TEST_F(recovery_oracle_cell, may_change_during_a_read) {
  const auto before = done();
  const auto reading = oracle_.begin_read();
  const auto after = done();
  EXPECT_EQ(end_read(reading, before), "");
  EXPECT_NE(read(before), "");
  EXPECT_EQ(read(after), "");
}

TEST_F(recovery_oracle_cell, may_lose_unflushed_writes_in_a_power_cut) {
  const auto flushed = done();
  flush();
  const auto lost = done();
  cut_power();
  EXPECT_EQ(read(flushed), "");
  EXPECT_EQ(read(lost), "");
  const auto after = done();
  EXPECT_EQ(read(after), "");
  EXPECT_NE(read(lost), "") << "no power cut since then";
}

TEST_F(recovery_oracle_cell, keeps_flushed_writes_across_a_power_cut) {
  const auto before = done();
  const auto flushed = done();
  flush();
  cut_power();
  EXPECT_EQ(read(flushed), "");
  EXPECT_NE(read(before), "");
}

TEST_F(recovery_oracle_cell, keeps_fua_writes_across_a_power_cut) {
  const auto before = done();
  const auto durable = done(outcome::durable);
  cut_power();
  EXPECT_EQ(read(durable), "");
  EXPECT_NE(read(before), "");
}

TEST_F(recovery_oracle_cell, is_not_covered_by_a_flush_after_a_failed_one) {
  const auto before = done();
  flush();
  const auto written = done();
  flush(false);
  flush();
  cut_power();
  EXPECT_EQ(read(before), "");
  EXPECT_EQ(read(written), "");
}

TEST_F(recovery_oracle_cell, is_not_covered_by_a_flush_that_was_already_in_flight) {
  const auto before = done();
  flush();
  const auto flushing = oracle_.begin_flush();
  done();
  oracle_.end_flush(flushing, true);
  cut_power();
  EXPECT_EQ(read(before), "");
}

TEST_F(recovery_oracle_cell, may_hold_zeros_or_the_old_data_after_a_discard) {
  const auto before = done();
  oracle_.end_write(oracle_.begin_discard(0, 1), outcome::done);
  EXPECT_EQ(read(before), "");
  EXPECT_EQ(read(nullptr), "");
  done();
  EXPECT_NE(read(nullptr), "");
}

TEST_F(recovery_oracle_cell, may_hold_zeros_of_any_relevant_discard) {
  const auto in_flight = oracle_.begin_discard(0, 1);
  oracle_.end_write(oracle_.begin_discard(0, 1), outcome::done);
  done();
  EXPECT_EQ(read(nullptr), "");
  oracle_.end_write(in_flight, outcome::done);
  done();
  EXPECT_NE(read(nullptr), "");
}

TEST_F(recovery_oracle_cell, keeps_all_writes_that_it_may_still_hold) {
  const auto flushed = done();
  flush();
  recovery_oracle::write last;
  for (int i = 0; i < 50; ++i)
    last = done();
  cut_power();
  EXPECT_EQ(read(flushed), "");
  EXPECT_EQ(read(last), "");
}

}  // namespace
}  // namespace xenpv::blkfront
