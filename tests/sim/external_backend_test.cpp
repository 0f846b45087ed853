// External backends with a command (backend=exec:COMMAND), from outside the host: their
// environment, their nodes, and how they start, restart and end. The command is a stub that only
// announces its disk; qemu_backend_test.cpp tests a backend that serves one.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "sim/disk_spec.hpp"
#include "simulated_host.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

/// Whether the process exists and is not a zombie.
bool is_running(int process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto end = text.rfind(')');
  return end != std::string::npos && text.size() > end + 2 && text[end + 2] != 'Z';
}

class external_backend : public ::testing::Test {
 protected:
  external_backend() {
    std::string name = ::testing::TempDir() + "/xenpv-backend-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw_errno("create a directory");
    directory_ = name;
    record_ = directory_ / "record";
  }
  ~external_backend() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  /// A command that appends a line to the record, announces its disk and then waits.
  [[nodiscard]] std::string stub() const {
    return fmt::format(
        "echo $XENPV_SIM_DOMAIN $XENPV_SIM_DISK $XENPV_SIM_DEVICE $XENPV_SIM_BACKEND "
        "$XENPV_SIM_FRONTEND $XENPV_SIM_FILE >>{}; "
        "echo store_write $XENPV_SIM_BACKEND/state 2 | {}; exec sleep 1000",
        record_.string(), XENPV_TEST_ACTOR);
  }
  [[nodiscard]] static host_options with_disk(const std::string& spec) {
    host_options options;
    options.disks.push_back(parse_disk_spec(spec).value());
    return options;
  }
  [[nodiscard]] std::string record() const {
    std::ifstream file(record_);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  /// Returns the problem, or an empty text when all backends have announced their disks.
  static std::string await_backends(simulated_host& host) {
    return host.ask({{"command", "await-backends"}}).at("problem").get<std::string>();
  }
  static int process_of(simulated_host& host) {
    return host.status().at("backends").at(0).at("process").get<int>();
  }
  static std::string read(simulated_host& host, const std::string& path) {
    return host.actor(0)->ask("store_read " + path);
  }

  static constexpr const char* back = "/local/domain/0/backend/vbd/1/51728";
  static constexpr const char* front = "/local/domain/1/device/vbd/51728";

 private:
  std::filesystem::path directory_;
  std::filesystem::path record_;
};

TEST_F(external_backend, gets_its_disk_from_the_environment) {
  simulated_host host(with_disk("xvdb,file=/srv/disk,ro,backend=exec:" + stub()));
  EXPECT_EQ(await_backends(host), "");
  EXPECT_EQ(record(), fmt::format("1 xvdb 51728 {} {} /srv/disk\n", back, front));
  EXPECT_EQ(read(host, std::string(back) + "/state"), "2");
  EXPECT_EQ(read(host, std::string(back) + "/params"), "/srv/disk");
  EXPECT_EQ(read(host, std::string(back) + "/type"), "phy");
  EXPECT_EQ(read(host, std::string(back) + "/mode"), "r");
  EXPECT_EQ(read(host, std::string(back) + "/discard-enable"), "0");
  EXPECT_EQ(read(host, std::string(front) + "/backend"), back);
  const auto backend = host.status().at("backends").at(0);
  EXPECT_EQ(backend.at("backend"), "exec");
  EXPECT_EQ(backend.at("domid"), 1);
  EXPECT_EQ(backend.at("restarts"), 0);
  EXPECT_TRUE(is_running(backend.at("process").get<int>()));
}

TEST_F(external_backend, can_have_a_device_type_of_its_own) {
  simulated_host host(with_disk("xvdb,type=vbd3,backend=exec:" + stub()));
  EXPECT_EQ(await_backends(host), "");
  EXPECT_THAT(record(), StartsWith("1 xvdb 51728 /local/domain/0/backend/vbd3/1/51728 "));
  EXPECT_EQ(read(host, std::string(front) + "/backend"), "/local/domain/0/backend/vbd3/1/51728");
  EXPECT_EQ(read(host, std::string(back) + "/state"), "absent");
}

TEST_F(external_backend, starts_with_fresh_nodes_when_it_is_restarted) {
  simulated_host host(with_disk("xvdb,backend=exec:" + stub()));
  EXPECT_EQ(await_backends(host), "");
  const auto before = process_of(host);
  host.actor(0)->ask(fmt::format("store_write {}/feature-flush-cache 1", back));
  const auto reply = host.ask({{"command", "restart-backend"}, {"domid", 1}, {"device", 51728}});
  EXPECT_EQ(reply.at("problem"), "");
  EXPECT_FALSE(is_running(before));
  const auto after = process_of(host);
  EXPECT_NE(after, before);
  EXPECT_TRUE(is_running(after));
  EXPECT_EQ(host.status().at("backends").at(0).at("restarts"), 1);
  EXPECT_EQ(read(host, std::string(back) + "/feature-flush-cache"), "absent");
  EXPECT_EQ(read(host, std::string(back) + "/state"), "2");
  EXPECT_EQ(read(host, std::string(back) + "/online"), "1");
  EXPECT_EQ(read(host, std::string(back) + "/frontend"), front);
}

TEST_F(external_backend, never_meets_a_frontend_that_still_uses_the_old_ring) {
  simulated_host host(with_disk("xvdb,backend=exec:" + stub()));
  EXPECT_EQ(await_backends(host), "");
  const auto guest = host.actor(1);
  // This frontend is dead: it does not react to the loss of its backend.
  ASSERT_EQ(guest->ask("store_write device/vbd/51728/state 4"), "");
  const auto reply = host.ask({{"command", "restart-backend"}, {"domid", 1}, {"device", 51728}});
  EXPECT_EQ(reply.at("problem"), "");
  EXPECT_EQ(guest->ask("store_read device/vbd/51728/state"), "1");
}

TEST_F(external_backend, is_reported_with_its_output_when_it_fails) {
  simulated_host host(with_disk("xvdb,backend=exec:echo out of order >&2; exit 3"));
  const auto problem = await_backends(host);
  EXPECT_THAT(problem, HasSubstr("backend exec of xvdb of domain 1"));
  EXPECT_THAT(problem, HasSubstr("exit status 3"));
  EXPECT_THAT(problem, HasSubstr("out of order"));
  EXPECT_EQ(process_of(host), 0);
}

TEST_F(external_backend, restarts_only_disks_that_have_one) {
  simulated_host host(with_disk("xvdb,memory=1M"));
  EXPECT_EQ(await_backends(host), "");
  EXPECT_THAT(host.status().at("backends"), IsEmpty());
  EXPECT_THROW(host.ask({{"command", "restart-backend"}, {"domid", 1}, {"device", 51728}}),
               failure);
}

TEST_F(external_backend, ends_with_its_guest) {
  simulated_host host(with_disk("xvdb,backend=exec:" + stub()));
  EXPECT_EQ(await_backends(host), "");
  const auto process = process_of(host);
  host.ask({{"command", "destroy"}, {"domid", 1}});
  EXPECT_FALSE(is_running(process));
  EXPECT_THAT(host.status().at("backends"), IsEmpty());
  EXPECT_EQ(read(host, std::string(back) + "/state"), "absent");
}

TEST_F(external_backend, is_replaced_when_its_guest_is_restored) {
  simulated_host host(with_disk("xvdb,backend=exec:" + stub()));
  EXPECT_EQ(await_backends(host), "");
  const auto process = process_of(host);
  EXPECT_EQ(host.save_restore(1), 2U);
  EXPECT_FALSE(is_running(process));
  EXPECT_EQ(await_backends(host), "");
  EXPECT_THAT(record(), HasSubstr("\n2 xvdb 51728 /local/domain/0/backend/vbd/2/51728 "));
  EXPECT_EQ(read(host, std::string(back) + "/state"), "absent");
}

TEST_F(external_backend, ends_with_its_host) {
  int process = 0;
  {
    simulated_host host(with_disk("xvdb,backend=exec:" + stub()));
    EXPECT_EQ(await_backends(host), "");
    process = process_of(host);
  }
  // The host is killed, and the kernel then kills the backend.
  for (int i = 0; i < 5000 && is_running(process); ++i)
    ::usleep(2000);
  EXPECT_FALSE(is_running(process));
}

}  // namespace
}  // namespace xenpv::sim
