// Domains and their processes: exits, saves and restores.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>

#include "simulated_host.hpp"

namespace xenpv::sim {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST(domain_life, two_domains_exchange_events_and_bytes) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  guest->ask("open");
  backend->ask("open");
  const auto offered = guest->ask("bind_unbound 0");
  const auto bound = backend->ask("bind_interdomain 1 " + offered);
  EXPECT_EQ(backend->ask("pending 5000"), bound) << "the first event is sent by Xen";
  const auto ref = guest->ask("share 0 1");
  ASSERT_EQ(backend->ask("map 1 " + ref), "");
  guest->ask("poke_shared 42");
  guest->ask("notify " + offered);
  backend->ask("unmask " + bound);
  EXPECT_EQ(backend->ask("pending 5000"), bound);
  EXPECT_EQ(backend->ask("peek_mapped"), "42");
}

TEST(domain_life, killed_process_releases_its_resources) {
  simulated_host host;
  const auto before = host.domain(1);
  const auto guest = host.actor(1);
  guest->ask("open");
  guest->ask("bind_unbound 0");
  guest->ask("share 0 16");
  EXPECT_EQ(host.domain(1)["shared_pages"], 16);
  guest->kill(SIGKILL);
  EXPECT_TRUE(host.eventually([&](const auto& status) {
    return status["open_handles"] == 0 && host.domain(1) == before;
  })) << host.status().dump(2);
}

TEST(domain_life, notifying_a_killed_reader_is_harmless) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  guest->ask("open");
  backend->ask("open");
  const auto offered = guest->ask("bind_unbound 0");
  const auto bound = backend->ask("bind_interdomain 1 " + offered);
  ASSERT_EQ(backend->ask("notify " + bound), "");
  guest->kill(SIGKILL);
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(backend->ask("notify " + bound), "");
}

TEST(domain_life, pages_of_a_destroyed_domain_stay_mapped) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  backend->ask("open");
  guest->ask("open");
  const auto bound = backend->ask("bind_interdomain 1 " + guest->ask("bind_unbound 0"));
  backend->ask("map 1 " + guest->ask("share 0 1"));
  guest->ask("poke_shared 7");
  host.ask({{"command", "destroy"}, {"domid", 1}});
  const int status = guest->wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_TRUE(host.domain(1).is_null());
  EXPECT_EQ(backend->ask("peek_mapped"), "7");
  EXPECT_EQ(backend->ask("notify " + bound), "") << "dropped, as in Xen";
  EXPECT_EQ(backend->ask("store_read /local/domain/1/name"), "absent");
  EXPECT_EQ(backend->ask("unmap"), "");
}

TEST(domain_life, closing_a_stale_handle_is_recorded_as_a_kernel_bug_and_kills_the_process) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("open");
  const auto port = guest->ask_number("bind_unbound 0");
  const auto number = host.save_restore(1);
  EXPECT_EQ(guest->ask("notify " + std::to_string(port)), "") << "no error, as on Linux";
  const auto pid = guest->process();
  EXPECT_EQ(guest->ask("close"), "dead");
  const int status = guest->wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  const auto bugs = host.status()["kernel_bugs"];
  ASSERT_THAT(bugs, SizeIs(1));
  EXPECT_EQ(bugs[0]["domid"], number);
  EXPECT_EQ(bugs[0]["process"], pid);
  EXPECT_EQ(bugs[0]["port"], port);
  EXPECT_THAT(bugs[0]["what"].get<std::string>(),
              HasSubstr("kernel BUG at drivers/xen/evtchn.c: last reference closed"));
}

TEST(domain_life, save_is_answered_when_the_domain_runs_with_its_new_id) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("open");
  const auto number = host.save_restore(1, false, std::chrono::milliseconds(30));
  EXPECT_TRUE(host.domain(1).is_null());
  EXPECT_FALSE(host.domain(number).is_null()) << "the next command may use the ID";
}

TEST(domain_life, unbinding_a_stale_port_triggers_the_kernel_bug) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("open");
  const auto port = guest->ask("bind_unbound 0");
  host.save_restore(1);
  EXPECT_EQ(guest->ask("unbind " + port), "dead");
  guest->wait();
  // As on Linux, the dying process closes the handle when it exits and triggers the BUG again.
  ASSERT_TRUE(
      host.eventually([](const auto& status) { return status["kernel_bugs"].size() == 2; }));
  EXPECT_THAT(host.status()["kernel_bugs"][0]["what"].get<std::string>(),
              HasSubstr("unbind of port " + port));
}

TEST(domain_life, exit_with_a_stale_handle_triggers_the_kernel_bug) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("open");
  guest->ask("bind_unbound 0");
  host.save_restore(1);
  const auto pid = guest->process();
  guest->exit();
  ASSERT_TRUE(
      host.eventually([](const auto& status) { return status["kernel_bugs"].size() == 1; }));
  EXPECT_EQ(host.status()["kernel_bugs"][0]["process"], pid);
}

TEST(domain_life, stale_handle_without_ports_may_be_closed) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("open");
  host.save_restore(1);
  EXPECT_EQ(guest->ask("close"), "");
  EXPECT_EQ(guest->exit(), 0);
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
}

TEST(domain_life, custodian_protects_the_process_from_the_kernel_bug) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto custodian = static_cast<pid_t>(guest->ask_number("custodian"));
  guest->ask("open");
  guest->ask("bind_unbound 0");
  guest->ask("open");
  guest->ask("bind_unbound 0");
  host.save_restore(1);
  EXPECT_EQ(guest->ask("resumed"), "");
  EXPECT_EQ(guest->exit(), 0);
  EXPECT_EQ(::kill(custodian, 0), 0) << "must keep the handles until power-off";
  EXPECT_EQ(host.status()["open_handles"], 2);
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
  ::kill(custodian, SIGKILL);
}

TEST(domain_life, replaced_custodian_protects_the_process_from_the_kernel_bug) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto killed = static_cast<pid_t>(guest->ask_number("custodian"));
  guest->ask("open");
  guest->ask("bind_unbound 0");
  host.save_restore(1);
  ASSERT_EQ(::kill(killed, SIGKILL), 0);
  // The first call after the death starts a replacement and sends it all handles.
  EXPECT_EQ(guest->ask("resumed"), "");
  const auto successor = static_cast<pid_t>(guest->ask_number("custodian_process"));
  EXPECT_NE(successor, killed);
  EXPECT_EQ(guest->exit(), 0);
  EXPECT_EQ(::kill(successor, 0), 0) << "must keep the handle until power-off";
  EXPECT_EQ(host.status()["open_handles"], 1);
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
  ::kill(successor, SIGKILL);
}

TEST(domain_life, custodian_runs_the_remaining_cleanups_at_a_clean_stop) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  guest->ask("custodian");
  guest->ask("open");
  guest->ask("bind_unbound 0");
  guest->ask("store_write data/state 4");
  guest->ask("cleanup data/state 6");
  EXPECT_EQ(guest->exit(), 0);
  EXPECT_EQ(backend->ask("store_read /local/domain/1/data/state"), "6")
      << "the cleanup must run before the process exits";
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
}

TEST(domain_life, new_handle_works_after_a_resume_and_reuses_port_numbers) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  const auto custodian = static_cast<pid_t>(guest->ask_number("custodian"));
  guest->ask("open");
  const auto before = guest->ask("bind_unbound 0");
  const auto number = std::to_string(host.save_restore(1));
  guest->ask("resumed");
  guest->ask("open");
  const auto after = guest->ask("bind_unbound 0");
  EXPECT_EQ(after, before);
  backend->ask("open");
  const auto bound = backend->ask("bind_interdomain " + number + " " + after);
  backend->ask("notify " + bound);
  EXPECT_EQ(guest->ask("pending 5000"), after);
  EXPECT_EQ(guest->ask("close"), "") << "no resume since this handle was opened";
  EXPECT_EQ(guest->exit(), 0);
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
  ::kill(custodian, SIGKILL);
}

TEST(domain_life, custodian_exits_with_its_process_without_a_resume) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("custodian");
  guest->ask("open");
  guest->ask("bind_unbound 0");
  EXPECT_EQ(guest->ask("close"), "");
  EXPECT_TRUE(host.eventually([](const auto& status) { return status["open_handles"] == 0; }));
  EXPECT_EQ(host.domain(1)["user_event_channels"], 0);
  EXPECT_EQ(guest->exit(), 0);
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
}

TEST(domain_life, custodian_runs_the_cleanup_when_its_process_is_killed) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  guest->ask("custodian");
  guest->ask("open");
  guest->ask("bind_unbound 0");
  guest->ask("store_write data/state 4");
  guest->ask("cleanup data/state 6");
  EXPECT_EQ(backend->ask("store_read /local/domain/1/data/state"), "4");
  guest->kill(SIGKILL);
  EXPECT_TRUE(host.eventually([&](const auto& status) {
    return status["open_handles"] == 0 &&
           backend->ask("store_read /local/domain/1/data/state") == "6";
  }));
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
}

TEST(domain_life, custodian_keeps_the_stale_handles_of_a_killed_process) {
  simulated_host host;
  const auto guest = host.actor(1);
  const auto backend = host.actor(0);
  const auto custodian = static_cast<pid_t>(guest->ask_number("custodian"));
  guest->ask("open");
  guest->ask("bind_unbound 0");
  host.save_restore(1, true);
  guest->ask("resumed");
  guest->ask("cleanup data/state 6");
  guest->kill(SIGKILL);
  EXPECT_TRUE(host.eventually([&](const auto&) {
    return backend->ask("store_read /local/domain/1/data/state") == "6";
  })) << "the custodian must run the cleanup";
  EXPECT_EQ(host.status()["open_handles"], 1);
  EXPECT_THAT(host.status()["kernel_bugs"], IsEmpty());
  ::kill(custodian, SIGKILL);
}

TEST(domain_life, restore_rebuilds_the_devices_and_fires_every_watch_once) {
  host_options options;
  options.disks.push_back(parse_disk_spec("xvdb,memory=1M").value());
  simulated_host host(std::move(options));
  const auto guest = host.actor(1);
  ASSERT_EQ(guest->ask("store_write device/vbd/51728/state 4"), "");
  guest->ask("store_keep");
  guest->ask("store_watch device/vbd/51728/state");
  EXPECT_EQ(guest->ask("store_event 5000"), "device/vbd/51728/state") << "at registration";
  EXPECT_EQ(guest->ask("store_event 0"), "none");
  const auto number = host.save_restore(1);
  EXPECT_EQ(number, 2U);
  EXPECT_EQ(guest->ask("store_event 5000"), "device/vbd/51728/state");
  EXPECT_EQ(guest->ask("store_event 0"), "none");
  EXPECT_EQ(guest->ask("store_read device/vbd/51728/state"), "1");
  EXPECT_EQ(guest->ask("store_read domid"), "2");
  EXPECT_TRUE(host.domain(1).is_null());
}

TEST(domain_life, only_a_storage_migration_changes_the_uuid_of_a_disk) {
  host_options options;
  options.disks.push_back(parse_disk_spec("xvdb,memory=1M,vdi").value());
  simulated_host host(std::move(options));
  const auto guest = host.actor(1);
  const auto node = [&](const char* name) {
    return guest->ask(std::string("store_read /local/domain/0/backend/vbd/1/51728/sm-data/") +
                      name);
  };
  const auto before = node("vdi-uuid");
  EXPECT_EQ(before.size(), 36U) << before;
  EXPECT_EQ(node("scsi/0x12/0x83"), "0083:" + before);
  EXPECT_EQ(host.save_restore(1, true), 1U);
  EXPECT_EQ(node("vdi-uuid"), before);
  host.ask({{"command", "save-restore"}, {"domid", 1}, {"keep", true}, {"storage_moved", true}});
  const auto after = node("vdi-uuid");
  EXPECT_EQ(after.size(), 36U) << after;
  EXPECT_NE(after, before);
  EXPECT_EQ(node("scsi/0x12/0x83"), "0083:" + after);
}

TEST(domain_life, restore_can_keep_the_domain_id) {
  simulated_host host;
  const auto guest = host.actor(1);
  guest->ask("store_write data/mark 1");
  EXPECT_EQ(host.save_restore(1, true), 1U);
  EXPECT_EQ(guest->ask("store_read domid"), "1");
  EXPECT_EQ(guest->ask("store_read data/mark"), "absent") << "the xenstore tree is new";
}

TEST(domain_life, two_hosts_run_side_by_side) {
  simulated_host one;
  simulated_host two;
  const auto here = one.actor(1);
  const auto there = two.actor(1);
  here->ask("store_write data/place here");
  there->ask("store_write data/place there");
  EXPECT_EQ(here->ask("store_read data/place"), "here");
  EXPECT_EQ(there->ask("store_read data/place"), "there");
  here->ask("open");
  here->ask("bind_unbound 0");
  EXPECT_EQ(one.status()["open_handles"], 1);
  EXPECT_EQ(two.status()["open_handles"], 0);
}

}  // namespace
}  // namespace xenpv::sim
