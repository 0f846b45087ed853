// What the tests of a frontend on the simulator share: a runtime for one coroutine, other processes
// of the domain, and the toolstack's side of a disk.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <string>
#include <utility>

#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;

/// Runs `body` on a fresh runtime without a custodian.
inline void with_runtime(std::function<asio::awaitable<void>(async::runtime&)> body) {
  async::runtime_options how;
  how.with_custodian = false;
  async::runtime on(std::move(how));
  on.run(std::move(body));
}

/// What `operation` fails with; the text is empty if it does not.
inline asio::awaitable<error> failure_of(asio::awaitable<void> operation) {
  try {
    co_await std::move(operation);
  } catch (const failure& problem) {
    co_return error{problem.code(), problem.what()};
  }
  co_return error{};
}

/// This program as another process of the domain: opens `device`, says so and waits to be killed.
class holder {
 public:
  holder(const std::string& device, bool with_custodian);
  ~holder();
  holder(const holder&) = delete;
  holder& operator=(const holder&) = delete;
  void kill();

 private:
  pid_t process_ = -1;
};
/// The program's side of it; see main().
int hold(const std::string& device, bool with_custodian);

/// `xenpv-sim disk --dir <this domain's host> WORDS...`
void toolstack(const std::string& words);

}  // namespace xenpv::blkfront
