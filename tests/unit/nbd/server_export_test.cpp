// A server with several exports: names, the default, parts of a device, changes of size.
#include <gmock/gmock.h>

#include "negotiation_client.hpp"
#include "server_rig.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using asio::awaitable;

export_options named(std::string name) {
  export_options out;
  out.name = std::move(name);
  return out;
}
export_options part(std::string name, std::uint64_t first, std::uint64_t size) {
  auto out = named(std::move(name));
  out.first = first;
  out.size = size;
  return out;
}
/// A second device of 2 MiB on the threads of the first one.
std::unique_ptr<fake_device> second_device(server_rig& rig) {
  const std::vector<asio::any_io_executor> executors = {rig.queue_executor(0),
                                                        rig.queue_executor(1)};
  fake_options options;
  options.size = 2U << 20U;
  return std::make_unique<fake_device>(executors, options);
}
/// Returns the reply with which the server refuses the client's choice, or "".
awaitable<std::string> refusal_of(test_client& client, std::string name) {
  std::string out;
  try {
    (void)co_await client.go(std::move(name));
  } catch (const std::runtime_error& problem) {
    out = problem.what();
  }
  co_return out;
}
const std::string lost =
    "NBD_OPT_GO: NBD_REP_ERR_UNKNOWN export 'other' is not available: unplugged";
/// Returns the message of the failure, or "".
std::string problem_of_adding(server_rig& rig, const export_options& options) {
  try {
    rig.server->add_export(*rig.device, options);
  } catch (const failure& problem) {
    return problem.what();
  }
  return "";
}

TEST(server_export, clients_choose_an_export_by_name) {
  std::unique_ptr<fake_device> other;
  server_rig rig;
  rig.run([&other](server_rig& self) -> awaitable<void> {
    other = second_device(self);
    self.server->add_export(*other, named("other"));
    auto first = self.new_client();
    EXPECT_EQ(co_await first->go("disk"), 1U << 20U);
    auto second = self.new_client();
    EXPECT_EQ(co_await second->go("other"), 2U << 20U);
    sent_request write{nbd_command::write, 1, 4096, 5};
    EXPECT_EQ(co_await second->ask(write, "hello"), "1 ok");
    EXPECT_EQ(std::memcmp(other->bytes.data() + 4096, "hello", 5), 0);
    EXPECT_EQ(self.device->bytes[4096], std::byte{0});
    auto unnamed = self.new_client();
    EXPECT_EQ(co_await unnamed->go(""), 1U << 20U) << "the first one is the default";
    co_await self.until_served(3);
    const auto all = co_await self.server->clients();
    std::vector<std::string> names;
    for (const auto& client : all)
      names.push_back(client.export_name);
    EXPECT_THAT(names, testing::ElementsAre("disk", "other", "disk"));
    first.reset();
    second.reset();
    unnamed.reset();
    const auto gone = [&] { return self.server->statistics().connections == 0; };
    co_await self.until(gone);
  });
}

TEST(server_export, lists_all_exports) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    rig.server->add_export(*rig.device, named("b"));
    auto client = rig.new_client();
    (void)co_await client->receive(18);
    co_await client->send(flags() + option(wire::nbd_option::list));
    EXPECT_EQ(shown_reply(co_await client->receive(20 + 4 + 4)),
              "NBD_OPT_LIST: NBD_REP_SERVER 000000046469736b");
    EXPECT_EQ(shown_reply(co_await client->receive(20 + 4 + 1)),
              "NBD_OPT_LIST: NBD_REP_SERVER 0000000162");
    EXPECT_EQ(shown_reply(co_await client->receive(20)), "NBD_OPT_LIST: NBD_REP_ACK");
  });
}

TEST(server_export, one_may_be_chosen_as_the_default) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    auto chosen = part("small", 0, 4096);
    chosen.is_default = true;
    rig.server->add_export(*rig.device, chosen);
    EXPECT_EQ(co_await rig.new_client()->go(""), 4096U);
  });
}

TEST(server_export, an_impossible_export_is_refused_with_the_reason) {
  server_rig rig;
  EXPECT_EQ(problem_of_adding(rig, named("disk")),
            "offer export 'disk': invalid argument (an export with this name already exists)");
  EXPECT_EQ(problem_of_adding(rig, part("p", 1U << 20U, 0)),
            "offer export 'p': invalid argument (it begins at byte 1048576, but the device has "
            "1048576 bytes)");
  EXPECT_EQ(problem_of_adding(rig, part("p", 4096, 1U << 20U)),
            "offer export 'p': invalid argument (it ends at byte 1052672, but the device has "
            "1048576 bytes)");
  EXPECT_EQ(problem_of_adding(rig, part("p", 4096, ~std::uint64_t{0} - 4096)),
            "offer export 'p': invalid argument (it ends at byte 18446744073709551615, but the "
            "device has 1048576 bytes)");
  auto chosen = named("a");
  chosen.is_default = true;
  EXPECT_EQ(problem_of_adding(rig, chosen), "");
  chosen.name = "b";
  EXPECT_EQ(problem_of_adding(rig, chosen),
            "offer export 'b': invalid argument ('a' is already the default export)");
  rig.run([](server_rig&) -> awaitable<void> { co_return; });
}

TEST(server_export, a_part_of_a_device_cannot_be_left) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    rig.server->add_export(*rig.device, part("part", 65536, 8192));
    auto client = rig.new_client();
    EXPECT_EQ(co_await client->go("part"), 8192U);
    sent_request write{nbd_command::write, 1, 4096, 4096};
    EXPECT_EQ(co_await client->ask(write, std::string(4096, 'x')), "1 ok");
    EXPECT_EQ(rig.device->bytes[65536 + 4095], std::byte{0});
    EXPECT_EQ(rig.device->bytes[65536 + 4096], std::byte{'x'});
    EXPECT_EQ(rig.device->bytes[65536 + 8191], std::byte{'x'});
    EXPECT_EQ(rig.device->bytes[65536 + 8192], std::byte{0});
    sent_request beyond{nbd_command::read, 2, 8192, 512};
    EXPECT_EQ(co_await client->ask(beyond), "2 EINVAL");
    sent_request across{nbd_command::write, 3, 8191, 2};
    EXPECT_EQ(co_await client->ask(across, "ab"), "3 ENOSPC");
    sent_request read{nbd_command::read, 4, 4096, 4096};
    EXPECT_EQ(co_await client->ask(read), "4 data 4096");
    EXPECT_EQ(client->reader.data, std::string(4096, 'x'));
    sent_request trim{nbd_command::trim, 5, 0, 4096};
    EXPECT_EQ(co_await client->ask(trim), "5 ok");
    auto log = [&] { return rig.device->queue(0).log.back(); };
    EXPECT_EQ(co_await rig.on_queue(0, log), "discard 65536+4096");
  });
}

TEST(server_export, a_part_follows_the_size_of_its_device) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    rig.server->add_export(*rig.device, part("fixed", 65536, 65536));
    rig.server->add_export(*rig.device, part("rest", 65536, 0));
    EXPECT_EQ(co_await rig.new_client()->go("rest"), (1U << 20U) - 65536U);
    auto shape = rig.device->queue(0).shape();
    shape.size = 98304;
    rig.server->reshape(*rig.device, shape);
    EXPECT_EQ(co_await rig.new_client()->go("fixed"), 32768U);
    EXPECT_EQ(co_await rig.new_client()->go("rest"), 32768U);
    shape.size = 4096;
    rig.server->reshape(*rig.device, shape);
    EXPECT_EQ(co_await rig.new_client()->go("fixed"), 0U);
    EXPECT_EQ(co_await rig.new_client()->go("disk"), 4096U);
  });
}

TEST(server_export, a_resize_affects_only_the_clients_of_its_device) {
  std::unique_ptr<fake_device> other;
  server_rig rig;
  rig.run([&other](server_rig& self) -> awaitable<void> {
    other = second_device(self);
    self.server->add_export(*other, named("other"));
    auto client = self.new_client();
    (void)co_await client->go("other");
    auto shape = self.device->queue(0).shape();
    shape.size = 512;
    self.server->reshape(*self.device, shape);
    sent_request read{nbd_command::read, 1, 65536, 512};
    EXPECT_EQ(co_await client->ask(read), "1 data 512");
    shape.size = 65536;
    self.server->reshape(*other, shape);
    read.cookie = 2;
    EXPECT_EQ(co_await client->ask(read), "2 EINVAL");
    client.reset();
    const auto gone = [&] { return self.server->statistics().connections == 0; };
    co_await self.until(gone);
  });
}

TEST(server_export, new_clients_of_a_lost_device_are_refused_with_the_reason) {
  std::unique_ptr<fake_device> other;
  server_rig rig;
  rig.run([&other](server_rig& self) -> awaitable<void> {
    other = second_device(self);
    self.server->add_export(*other, named("other"));
    auto early = self.new_client();  // has been offered the export
    const auto is_there = [&] { return self.server->statistics().handshakes == 1; };
    co_await self.until(is_there);
    self.server->withdraw(*other, "unplugged");
    self.server->withdraw(*other, "again");
    EXPECT_EQ(co_await refusal_of(*early, "other"), lost);
    auto late = self.new_client();
    EXPECT_EQ(co_await refusal_of(*late, "other"), lost);
    EXPECT_EQ(co_await self.new_client()->go("disk"), 1U << 20U);
  });
}

TEST(server_export, a_client_that_waits_for_a_lost_device_is_refused) {
  std::unique_ptr<fake_device> other;
  server_options options;
  options.max_connections = 1;
  server_rig rig(options);
  rig.run([&other](server_rig& self) -> awaitable<void> {
    other = second_device(self);
    self.server->add_export(*other, named("other"));
    auto seated = self.new_client();
    (void)co_await seated->go("disk");
    auto waiting = self.new_client();
    (void)co_await waiting->receive(18);
    co_await waiting->send(flags() + option(wire::nbd_option::go, info("other")));
    const auto waits = [&] { return self.server->statistics().waiting == 1; };
    co_await self.until(waits);
    self.server->withdraw(*other, "unplugged");
    EXPECT_EQ(shown_reply(co_await waiting->rest()), lost);
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await seated->ask(read), "1 data 512");
  });
}

TEST(server_export, clients_of_a_lost_device_are_disconnected_after_the_delay) {
  std::unique_ptr<fake_device> other;
  server_options options;
  options.withdrawal_delay = {};
  server_rig rig(options);
  rig.run([&other](server_rig& self) -> awaitable<void> {
    other = second_device(self);
    self.server->add_export(*other, named("other"));
    auto staying = self.new_client();
    (void)co_await staying->go("disk");
    auto idle = self.new_client();
    (void)co_await idle->go("other");
    co_await self.until_served(2);
    self.server->withdraw(*other, "unplugged");
    EXPECT_EQ(co_await idle->rest(), "");
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await staying->ask(read), "1 data 512");
    staying.reset();
    const auto gone = [&] { return self.server->statistics().connections == 0; };
    co_await self.until(gone);
  });
}

/// The delay is longer than the test may take, so stop() must not wait for it.
TEST(server_export, clients_of_a_lost_device_receive_its_errors_during_the_delay) {
  std::unique_ptr<fake_device> other;
  server_options options;
  options.withdrawal_delay = std::chrono::hours(1);
  server_rig rig(options);
  rig.run([&other](server_rig& self) -> awaitable<void> {
    other = second_device(self);
    self.server->add_export(*other, named("other"));
    auto client = self.new_client();
    (void)co_await client->go("other");
    co_await self.until_served(1);
    auto fail_all = [&] {
      other->queue(0).fails = [](const blk::request&) {
        return std::error_code(ESHUTDOWN, std::generic_category());
      };
    };
    co_await self.on_queue(0, fail_all);
    self.server->withdraw(*other, "unplugged");
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await client->ask(read), "1 ESHUTDOWN");
    client.reset();
    const auto gone = [&] { return self.server->statistics().connections == 0; };
    co_await self.until(gone);
  });
}

}  // namespace
}  // namespace xenpv::nbd
