// Explores every interleaving of events for a few requests, up to a bound, and checks each against
// an oracle of the allowed disk contents.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "model/world.hpp"

namespace xenpv::model {
namespace {

struct totals {
  std::uint64_t states = 0;
  std::uint64_t histories = 0;
  std::uint64_t stories = 0;
};

/// Maximum number of states per test; sanitizer builds set a lower limit.
std::uint64_t bound() {
  const auto* const text = std::getenv("XENPV_MODEL_STATES");
  return text == nullptr ? ~std::uint64_t{0} : std::strtoull(text, nullptr, 10);
}

/// Explores all histories of `scenario`. Returns false after reporting a violation.
bool explore(const story& scenario, totals& sum) {
  world disk(scenario);
  explorer choices;
  ++sum.stories;
  do {
    const auto wrong = disk.run(choices);
    if (wrong) {
      ADD_FAILURE() << *wrong
                    << "\n  script: " << fmt::format("{}", fmt::join(scenario.script, " "))
                    << "\n  steps: " << fmt::format("{}", fmt::join(disk.trail(), ", "));
      return false;
    }
  } while (choices.next() && sum.states + choices.states() < bound());
  sum.states += choices.states();
  sum.histories += choices.runs();
  return true;
}

/// Calls `function(script)` for all scripts of `length` requests.
template <class Function>
void for_each_script(const std::vector<std::string>& requests, std::size_t length,
                     Function function) {
  std::vector<std::size_t> digits(length);
  for (;;) {
    std::vector<std::string> script;
    for (const auto digit : digits)
      script.push_back(requests[digit]);
    if (!function(script)) return;
    std::size_t at = 0;
    while (at < length && ++digits[at] == requests.size())
      digits[at++] = 0;
    if (at == length) return;
  }
}

void explore_all(const std::vector<std::string>& requests, std::size_t length, story scenario) {
  const auto began = std::chrono::steady_clock::now();
  totals sum;
  for_each_script(requests, length, [&](const std::vector<std::string>& script) {
    scenario.script = script;
    return explore(scenario, sum) && sum.states < bound();
  });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::cout << fmt::format("{} states, {} histories of {} stories in {:.1f} s\n", sum.states,
                           sum.histories, sum.stories, took.count());
  EXPECT_GT(sum.states, 1000u);
}

TEST(exploration, three_requests_and_a_deadline) {
  explore_all({"R0", "W0", "WB", "LB", "O0", "D0", "F"}, 3, {.deadlines = 1});
}

TEST(exploration, three_requests_and_an_abrupt_loss) {
  explore_all({"W0", "LB", "O0", "A0", "F", "R0"}, 3, {.may_lose_abruptly = true});
}

TEST(exploration, three_requests_and_an_orderly_loss_to_a_worse_backend) {
  explore_all({"W0", "LB", "O0", "A0", "F"}, 3,
              {.may_lose_orderly = true, .may_resume = true, .worse_backend = true});
}

TEST(exploration, three_requests_with_an_error_and_a_deadline) {
  explore_all({"W0", "LB", "O0", "F"}, 3, {.deadlines = 1, .errors = 1});
}

TEST(exploration, three_requests_and_a_backend_that_lies) {
  explore_all({"R0", "W0", "LB", "O0", "F"}, 3, {.lies = 1});
}

TEST(exploration, two_requests_and_a_deadline_step_by_step) {
  explore_all({"W0", "LB", "O0", "F"}, 2, {.fine = true, .deadlines = 1});
}

TEST(exploration, two_requests_and_an_abrupt_loss_step_by_step) {
  explore_all({"W0", "A0", "F"}, 2, {.fine = true, .may_lose_abruptly = true});
}

TEST(exploration, three_requests_on_two_queues_and_a_deadline) {
  explore_all({"W0", "w0", "lB", "O0", "o0", "F"}, 3, {.queues = 2, .deadlines = 1});
}

TEST(exploration, a_merge_beside_a_write_of_another_queue_message_by_message) {
  totals sum;
  for (const auto& script : {"O0 w0", "w0 O0", "o0 W0", "W0 o0"})
    if (!explore({.script = {std::string(script, 2), std::string(script + 3)},
                  .queues = 2,
                  .fine = true},
                 sum))
      return;
  std::cout << fmt::format("{} states, {} histories\n", sum.states, sum.histories);
}

TEST(exploration, a_deadline_and_an_abrupt_loss_on_two_queues_message_by_message) {
  explore_all({"LB", "lB", "O0"}, 1,
              {.queues = 2, .fine = true, .deadlines = 1, .may_lose_abruptly = true});
}

TEST(exploration, three_requests_on_two_queues_and_an_abrupt_loss) {
  explore_all({"W0", "w0", "O0", "F", "f"}, 3, {.queues = 2, .may_lose_abruptly = true});
}

}  // namespace
}  // namespace xenpv::model
