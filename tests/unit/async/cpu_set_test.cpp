#include "xenpv/async/cpu_set.hpp"

#include <gmock/gmock.h>
#include <sched.h>

#include <thread>

namespace xenpv::async {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(cpu_list, parses_numbers_and_ranges) {
  EXPECT_THAT(parse_cpu_list("3").value(), ElementsAre(3u));
  EXPECT_THAT(parse_cpu_list("0-2,8").value(), ElementsAre(0u, 1u, 2u, 8u));
}

TEST(cpu_list, sorts_and_counts_each_cpu_once) {
  EXPECT_THAT(parse_cpu_list("5,1-3,2,5").value(), ElementsAre(1u, 2u, 3u, 5u));
}

TEST(cpu_list, rejects_malformed_lists) {
  for (const auto* text : {"", "a", "1-", "-1", "3-1", "1-2-3", "1,,2", "9999", "1 "}) {
    const auto parsed = parse_cpu_list(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().text,
              "CPU list '" + std::string(text) +
                  "': invalid argument (expected CPU numbers and ranges, such as 0-3,8)");
  }
}

TEST(cpu_list, formats_runs_as_ranges) {
  EXPECT_EQ(format_cpu_list(std::vector<unsigned>{0, 1, 2, 8}), "0-2,8");
  EXPECT_EQ(format_cpu_list(std::vector<unsigned>{4}), "4");
  EXPECT_EQ(format_cpu_list({}), "");
}

TEST(allowed_cpus, includes_the_current_cpu) {
  EXPECT_THAT(allowed_cpus(), ::testing::Contains(static_cast<unsigned>(::sched_getcpu())));
}

TEST(pin_this_thread, leaves_only_that_cpu_allowed) {
  const auto last = allowed_cpus().back();
  std::vector<unsigned> after;
  std::thread([&] {
    pin_this_thread(last);
    after = allowed_cpus();
  }).join();
  EXPECT_THAT(after, ElementsAre(last));
}

TEST(pin_this_thread, failure_names_the_cpu) {
  try {
    pin_this_thread(8191);
    FAIL();
  } catch (const failure& e) {
    EXPECT_THAT(e.what(), HasSubstr("pin a thread to CPU 8191: invalid argument (allowed CPUs: "));
  }
}

TEST(cpu_set, parses_as_one_option_value) {
  EXPECT_EQ(as_cpu_list("2,0-1").value().cpus, (std::vector<unsigned>{0, 1, 2}));
  EXPECT_FALSE(as_cpu_list("all"));
}

TEST(cpu_set, selected_cpus_must_be_allowed) {
  EXPECT_EQ(selected_cpus({}), allowed_cpus());
  const auto first = allowed_cpus().front();
  EXPECT_EQ(selected_cpus(cpu_list{{first}}), std::vector<unsigned>{first});
  try {
    (void)selected_cpus(cpu_list{{first, 8000}});
    FAIL() << "CPU 8000 is allowed";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::invalid_argument);
    EXPECT_EQ(std::string(problem.what()), "run on CPU 8000: invalid argument (allowed CPUs: " +
                                               format_cpu_list(allowed_cpus()) + ")");
  }
}

}  // namespace
}  // namespace xenpv::async
