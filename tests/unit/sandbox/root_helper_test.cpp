// The root helper as a process, with a hostile server.
#include "sandbox/root_helper.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::sandbox {
namespace {

helper_request request_to(helper_operation operation) {
  helper_request out;
  out.operation = operation;
  return out;
}

/// Serves requests on a thread of this process, so that the test can send raw packets.
class raw_helper {
 public:
  explicit raw_helper(helper_operations operations) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    client_.reset(ends[0]);
    helper_.reset(ends[1]);
    thread_ = std::thread([this, operations = std::move(operations)] {
      serve_requests(helper_.get(), helper_role::guest, operations);
    });
  }
  ~raw_helper() {
    client_.reset();
    thread_.join();
  }
  raw_helper(const raw_helper&) = delete;
  raw_helper& operator=(const raw_helper&) = delete;

  void send(const void* bytes, std::size_t size, std::span<const int> descriptors = {}) {
    iovec payload{const_cast<void*>(bytes), size};
    msghdr message{};
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * 250)> control{};
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
      auto* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
    }
    EXPECT_EQ(::sendmsg(client_.get(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }
  std::string answer() {
    std::array<std::byte, sizeof(helper_reply)> bytes{};
    EXPECT_EQ(::recv(client_.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    const auto problem = decode_helper_reply(bytes).value().get_error();
    return problem ? problem->text : "done";
  }

 private:
  unique_fd client_;
  unique_fd helper_;
  std::thread thread_;
};

helper_outcome do_nothing(helper_policy&, const helper_request&, const std::vector<unique_fd>&) {
  return {};
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const failure& problem) {
    return problem.what();
  }
  return "nothing was thrown";
}

TEST(root_helper, refuses_malformed_packets_and_goes_on) {
  raw_helper helper(do_nothing);
  const auto seal = request_to(helper_operation::seal);
  std::array<char, 4096> noise{};
  noise.fill('n');
  helper.send(noise.data(), 1);
  EXPECT_EQ(helper.answer(),
            "decode a request to the root helper: protocol violation (1 bytes, expected 1072)");
  helper.send(&seal, sizeof seal / 2);
  EXPECT_EQ(helper.answer(),
            "decode a request to the root helper: protocol violation (536 bytes, expected 1072)");
  helper.send(noise.data(), noise.size());
  EXPECT_THAT(helper.answer(), testing::HasSubstr("it is longer than a request"));
  helper.send(noise.data(), sizeof seal);
  EXPECT_THAT(helper.answer(), testing::HasSubstr("unknown operation"));
  helper.send(&seal, sizeof seal);
  EXPECT_EQ(helper.answer(), "done");
}

TEST(root_helper, refuses_and_closes_surplus_descriptors) {
  raw_helper helper(do_nothing);
  const auto seal = request_to(helper_operation::seal);
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const unique_fd reader(ends[0]);
  {
    const unique_fd writer(ends[1]);
    helper.send(&seal, sizeof seal, std::vector(1, ends[1]));
    EXPECT_THAT(helper.answer(), testing::HasSubstr("wrong number of descriptors: 1"));
    helper.send(&seal, sizeof seal, std::vector(200, ends[1]));
    EXPECT_THAT(helper.answer(), testing::HasSubstr("too many descriptors"));
    helper.send(&seal, sizeof seal);
    EXPECT_EQ(helper.answer(), "done");
  }
  pollfd entry{reader.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 10'000), 1) << "a copy of the descriptor is still open";
}

TEST(root_helper, survives_a_flood) {
  raw_helper helper(do_nothing);
  const auto request = request_to(helper_operation::bind_disk);
  for (int i = 0; i < 10'000; ++i) {
    helper.send(&request, sizeof request);
    ASSERT_THAT(helper.answer(), testing::HasSubstr("no such disk"));
  }
}

TEST(root_helper, passes_values_descriptors_and_errors) {
  root_helper helper(
      helper_role::guest, "test-helper", [] {},
      [](helper_policy&, const helper_request& request, const std::vector<unique_fd>&) {
        if (request.operation == helper_operation::set_irq_affinity)
          throw failure(errc::not_available, "move an IRQ", "no such IRQ");
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("create a pipe");
        const unique_fd writer(ends[1]);
        EXPECT_EQ(::write(writer.get(), "x", 1), 1);
        return helper_outcome{static_cast<std::uint64_t>(::getpid()), unique_fd(ends[0])};
      });
  const auto outcome = helper.ask(request_to(helper_operation::start_custodian));
  EXPECT_EQ(outcome.value, static_cast<std::uint64_t>(helper.process()));
  char text = 0;
  EXPECT_EQ(::read(outcome.descriptor.get(), &text, 1), 1);
  EXPECT_EQ(text, 'x');
  EXPECT_EQ(message_of([&] { helper.ask(request_to(helper_operation::set_irq_affinity)); }),
            "move an IRQ: not available here (no such IRQ)");
}

TEST(root_helper, does_not_make_a_hurried_request_wait_for_another_thread) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const unique_fd gate(ends[0]);
  // The helper closes all other descriptors, so it gets the gate with a request.
  root_helper helper(
      helper_role::device, "test-helper", [] {},
      [](helper_policy&, const helper_request&, const std::vector<unique_fd>& descriptors) {
        char byte = 0;
        EXPECT_EQ(::write(descriptors.front().get(), "s", 1), 1);
        EXPECT_EQ(::read(descriptors.front().get(), &byte, 1), 1);
        return helper_outcome{};
      });
  const auto request = request_to(helper_operation::enlarge_buffer);
  std::thread slow([&, end = unique_fd(ends[1])] { helper.ask(request, {end.get()}); });
  char byte = 0;
  ASSERT_EQ(::read(gate.get(), &byte, 1), 1) << "the slow request has begun";
  EXPECT_FALSE(helper.try_ask(request, {gate.get()}).has_value());
  ASSERT_EQ(::write(gate.get(), "e", 1), 1);
  slow.join();
}

TEST(root_helper, ignores_the_signals_that_stop_a_server) {
  root_helper helper(
      helper_role::guest, "test-helper", [] {}, do_nothing);
  for (const int number : {SIGTERM, SIGINT, SIGHUP})
    ASSERT_EQ(::kill(helper.process(), number), 0);
  EXPECT_NO_THROW(helper.ask(request_to(helper_operation::start_custodian)));
}

TEST(root_helper, reports_that_it_has_ended) {
  root_helper helper(
      helper_role::guest, "test-helper", [] {}, do_nothing);
  ASSERT_EQ(::kill(helper.process(), SIGKILL), 0);
  EXPECT_EQ(message_of([&] { helper.ask(request_to(helper_operation::start_custodian)); }),
            "ask the root helper to start_custodian: connection lost (it has ended; restart the "
            "server)");
}

TEST(root_helper, does_not_start_if_its_preparation_fails) {
  EXPECT_THAT(message_of([] {
                const root_helper helper(
                    helper_role::guest, "test-helper",
                    [] { throw failure(errc::not_available, "prepare"); }, do_nothing);
              }),
              testing::HasSubstr("start the root helper: connection lost"));
}

}  // namespace
}  // namespace xenpv::sandbox
