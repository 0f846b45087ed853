// CONTROL requests: the commands of `xenstore-control`. The cases restore what they change, and
// never start a live update.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "contract/raw_store.hpp"
#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// The first release with the 4.20 commands that was tested; 4.17 is the last one without them.
constexpr unsigned tested_release = 20;

struct control_reply {
  outcome result;
  std::string text;  ///< of a successful command
};

class store_control : public store_case {
 protected:
  void SetUp() override {
    store_case::SetUp();
    if (!in_dom0()) GTEST_SKIP() << "only domain 0 may send commands to xenstored";
  }

  [[nodiscard]] control_reply control(const std::string& command,
                                      const std::vector<std::string>& parameters = {}) {
    std::string data;
    for (const auto& parameter : parameters)
      data.append(parameter).push_back('\0');
    errno = 0;
    char* text = xs_control_command(store_.get(), command.c_str(), data.data(),
                                    static_cast<unsigned>(data.size()));
    if (text == nullptr) return {failed(errno), {}};
    control_reply reply{succeeded, text};
    std::free(text);
    return reply;
  }

  [[nodiscard]] std::string text_of(const std::string& command,
                                    const std::vector<std::string>& parameters = {}) {
    const auto reply = control(command, parameters);
    EXPECT_EQ(reply.result, succeeded) << command;
    return reply.text;
  }
  [[nodiscard]] outcome result_of(const std::string& command,
                                  const std::vector<std::string>& parameters = {}) {
    return control(command, parameters).result;
  }
};

/// Adds a directory that is removed after the case.
class store_control_file : public store_control {
 protected:
  void SetUp() override {
    store_control::SetUp();
    if (IsSkipped()) return;
    std::string name = std::filesystem::temp_directory_path() / "xenpv-contract-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    if (!directory_.empty()) {
      // The daemon cannot forget the file, but it can close it.
      EXPECT_EQ(result_of("log", {"off"}), succeeded);
      std::filesystem::remove_all(directory_);
    }
    store_control::TearDown();
  }

  [[nodiscard]] std::string path(const std::string& name) const { return directory_ / name; }
  [[nodiscard]] static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::filesystem::path directory_;
};

std::string quota_line(const char* name, unsigned value, const char* description) {
  std::string line(100, '\0');
  const auto size =
      std::snprintf(line.data(), line.size(), "%-17s: %8u %s\n", name, value, description);
  line.resize(static_cast<std::size_t>(size));
  return line;
}

TEST_F(store_control, rejects_unknown_commands) {
  EXPECT_EQ(result_of("xenpv"), failed(EINVAL));
  EXPECT_EQ(result_of(""), failed(EINVAL));
}

TEST_F(store_control, checks_the_store) {
  EXPECT_EQ(text_of("check"), "OK");
  EXPECT_EQ(result_of("check", {"more"}), failed(EINVAL));
}

TEST_F(store_control, prints_a_string) {
  EXPECT_EQ(text_of("print", {"xenpv contract"}), "OK");
  EXPECT_EQ(result_of("print"), failed(EINVAL));
}

TEST_F(store_control, lists_its_commands) {
  const auto help = text_of("help");
  for (const auto* command : {"check", "log", "live-update", "logfile", "memreport", "print",
                              "quota", "quota-soft", "help"})
    EXPECT_THAT("\n" + help, HasSubstr(std::string("\n") + command));
  EXPECT_THAT(help, HasSubstr("[set <name> <val>]\n"));
  if (xen_minor_version() == 17) {
    EXPECT_THAT(help, HasSubstr("\nlogfile\t<file>\n"));
    EXPECT_THAT(help, HasSubstr("\nquota\t[set <name> <val>|<domid>]\n"));
  }
  if (xen_minor_version() >= tested_release) {
    EXPECT_THAT(help, HasSubstr("\nlogfile         <file>\n"));
    EXPECT_THAT(help, HasSubstr("\nquota           [set <name> <val>|<domid>|max [-r]]\n"));
  }
  EXPECT_EQ(result_of("help", {"quota"}), failed(EINVAL));
}

TEST_F(store_control, lists_the_quotas) {
  const auto quotas = text_of("quota");
  EXPECT_THAT(quotas, StartsWith("Quota settings:\n"));
  EXPECT_THAT(quotas, HasSubstr(quota_line("nodes", 1000, "Nodes per domain")));
  EXPECT_THAT(quotas, HasSubstr(quota_line("watches", 128, "Watches per domain")));
  EXPECT_THAT(quotas, HasSubstr(quota_line("outstanding", 20, "Outstanding requests per domain")));
  EXPECT_THAT(quotas, HasSubstr(quota_line("transaction-nodes", 1024,
                                           "Max. number of accessed nodes per transaction")));
  EXPECT_THAT(quotas, HasSubstr(quota_line("memory", 2'621'440,
                                           "Total Xenstore memory per domain (error level)")));
  EXPECT_THAT(quotas, HasSubstr(quota_line("path-max", 2048, "Max. length of a node path")));
  EXPECT_THAT(quotas, HasSubstr(quota_line("node-size", 2048, "Max. size of a node")));
  constexpr const char* permissions = "Max. number of permissions per node";
  if (xen_minor_version() == 17) {
    EXPECT_THAT(quotas, HasSubstr(quota_line("transactions", 10, "Transactions per domain")));
    EXPECT_THAT(quotas, HasSubstr(quota_line("permissions", 5, permissions)));
  }
  if (xen_minor_version() >= tested_release) {
    EXPECT_THAT(quotas,
                HasSubstr(quota_line("transactions", 10, "Active transactions per domain")));
    EXPECT_THAT(quotas, HasSubstr(quota_line("node-permissions", 5, permissions)));
  }
}

TEST_F(store_control, changes_a_quota) {
  EXPECT_EQ(text_of("quota", {"set", "watches", "129"}), "OK");
  EXPECT_THAT(text_of("quota"), HasSubstr(quota_line("watches", 129, "Watches per domain")));
  EXPECT_EQ(text_of("quota", {"set", "watches", "128"}), "OK");
  EXPECT_THAT(text_of("quota"), HasSubstr(quota_line("watches", 128, "Watches per domain")));
}

TEST_F(store_control, rejects_an_invalid_quota) {
  EXPECT_EQ(result_of("quota", {"set", "watches", "0"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota", {"set", "watches", "-1"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota", {"set", "watches", "many"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota", {"set", "xenpv", "1"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota", {"set", "watches"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota", {"set"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota", {"0", "0"}), failed(EINVAL));
}

TEST_F(store_control, reports_what_a_domain_uses) {
  const auto usage = text_of("quota", {"0"});
  EXPECT_THAT(usage, StartsWith("Domain 0:\n"));
  for (const auto* name : {"nodes", "watches", "transactions", "outstanding", "memory"})
    EXPECT_THAT(usage, HasSubstr("\n" + std::string(name) + ' ')) << name;
  const bool has_maxima = xen_minor_version() >= tested_release;
  if (has_maxima) {
    EXPECT_THAT(usage, HasSubstr(" (max "));
    EXPECT_THAT(usage, HasSubstr("\nnode-size "));
  }
  if (xen_minor_version() == 17) {
    EXPECT_THAT(usage, Not(HasSubstr("max")));
  }
  EXPECT_EQ(result_of("quota", {std::to_string(nobody)}), failed(ENOENT));
}

TEST_F(store_control, reports_the_highest_use) {
  if (xen_minor_version() == 17) {
    EXPECT_THAT(text_of("quota", {"max"}), StartsWith("Domain 0:\n"))
        << "4.17 takes any word for a domain ID";
    EXPECT_EQ(result_of("quota", {"max", "-r"}), failed(EINVAL));
    return;
  }
  if (xen_minor_version() < tested_release) GTEST_SKIP() << "only tested with Xen 4.17 and 4.20";
  const auto maxima = text_of("quota", {"max"});
  EXPECT_THAT(maxima, StartsWith("Max. seen accounting values:\nnodes            : "));
  EXPECT_THAT(maxima, HasSubstr("\npath-max         : "));
  EXPECT_THAT(text_of("quota", {"max", "-r"}), StartsWith("Max. seen accounting values:\n"));
  EXPECT_EQ(result_of("quota", {"max", "-x"}), failed(EINVAL));
}

TEST_F(store_control, has_a_soft_quota) {
  constexpr const char* description = "Total Xenstore memory per domain (warning level)";
  EXPECT_EQ(text_of("quota-soft"),
            "Quota settings:\n" + quota_line("memory", 2'097'152, description));
  EXPECT_EQ(text_of("quota-soft", {"set", "memory", "2097153"}), "OK");
  EXPECT_THAT(text_of("quota-soft"), HasSubstr(quota_line("memory", 2'097'153, description)));
  EXPECT_EQ(text_of("quota-soft", {"set", "memory", "2097152"}), "OK");
  EXPECT_EQ(result_of("quota-soft", {"set", "nodes", "1"}), failed(EINVAL));
  EXPECT_EQ(result_of("quota-soft", {"0"}), failed(EINVAL));
}

TEST_F(store_control, turns_tracing_on_and_off) {
  EXPECT_EQ(text_of("log", {"off"}), "OK");
  EXPECT_EQ(text_of("log", {"on"}), "OK");
  EXPECT_EQ(text_of("log", {"off"}), "OK");
  EXPECT_EQ(result_of("log", {"maybe"}), failed(EINVAL));
  EXPECT_EQ(result_of("log", {"on", "off"}), failed(EINVAL));
}

TEST_F(store_control, has_trace_switches_since_a_later_release) {
  if (xen_minor_version() == 17) {
    EXPECT_EQ(result_of("log"), failed(EINVAL));
    EXPECT_EQ(result_of("log", {"+tdb"}), failed(EINVAL));
    return;
  }
  if (xen_minor_version() < tested_release) GTEST_SKIP() << "only tested with Xen 4.17 and 4.20";
  EXPECT_EQ(text_of("log", {"+tdb"}), "OK");
  EXPECT_THAT(text_of("log"), HasSubstr("tdb     : on\n"));
  EXPECT_EQ(text_of("log", {"-tdb"}), "OK");
  EXPECT_EQ(text_of("log"),
            "Log switch settings:\nobj     : on\nio      : on\nwrl     : off\n"
            "acc     : off\ntdb     : off\n");
  EXPECT_EQ(result_of("log", {"+xenpv"}), failed(EINVAL));
}

TEST_F(store_control, refuses_a_live_update_without_a_session) {
  EXPECT_EQ(text_of("live-update", {"-a"}), "No live-update session active.");
  EXPECT_EQ(text_of("live-update", {"-c", "--trace-file=x"}), "Not in live-update session.");
  EXPECT_EQ(text_of("live-update", {"-s"}), "Not in live-update session.");
  EXPECT_EQ(text_of("live-update", {"-f", "/xenpv/absent"}), "File not accessible.");
  EXPECT_EQ(text_of("live-update", {"-f", "/etc/passwd"}), "File not executable.");
}

TEST_F(store_control, has_one_live_update_session) {
  EXPECT_EQ(text_of("live-update", {"-f", "/bin/sh"}), "OK");
  EXPECT_EQ(text_of("live-update", {"-f", "/bin/sh"}), "live-update session already active.");
  EXPECT_EQ(text_of("live-update", {"-c", "--trace-file=x"}), "OK");
  EXPECT_EQ(text_of("live-update", {"-a"}), "OK");
  EXPECT_EQ(text_of("live-update", {"-a"}), "No live-update session active.");
}

TEST_F(store_control, rejects_invalid_parameters_of_a_live_update) {
  EXPECT_EQ(result_of("live-update"), failed(EINVAL));
  EXPECT_EQ(result_of("live-update", {"-x"}), failed(EINVAL));
  EXPECT_EQ(result_of("live-update", {"-a", "x"}), failed(EINVAL));
  EXPECT_EQ(result_of("live-update", {"-f"}), failed(EINVAL));
  EXPECT_EQ(result_of("live-update", {"-s", "-x"}), failed(EINVAL));
}

TEST_F(store_control, does_not_know_the_requests_of_later_releases) {
  // XS_GET_FEATURE to XS_SET_QUOTA of Xen 4.21.
  if (xen_minor_version() > 20) GTEST_SKIP() << "Xen 4.21 introduced these requests";
  const raw_store store;
  for (const std::uint32_t type : {23U, 24U, 25U, 26U})
    EXPECT_EQ(store.call(type, std::string("0\0", 2)), "ENOSYS") << type;
}

TEST_F(store_control_file, traces_requests_to_the_log_file) {
  EXPECT_EQ(text_of("logfile", {path("trace")}), "OK");
  store_.write(node("traced"), "value");
  EXPECT_EQ(store_.read(node("traced")), "value");
  EXPECT_EQ(text_of("log", {"off"}), "OK");
  store_.write(node("silent"), "value");
  const auto trace = content(path("trace"));
  EXPECT_THAT(trace, HasSubstr("IN 0x"));
  EXPECT_THAT(trace, HasSubstr(" WRITE (" + node("traced") + " value)\n"));
  EXPECT_THAT(trace, HasSubstr("OUT"));
  EXPECT_THAT(trace, HasSubstr(" READ (" + node("traced") + " )\n"));
  EXPECT_THAT(trace, Not(HasSubstr("silent")));
  EXPECT_EQ(result_of("logfile"), failed(EINVAL));
}

TEST_F(store_control_file, ignores_a_log_file_that_cannot_be_opened) {
  EXPECT_EQ(text_of("logfile", {path("absent/trace")}), "OK");
  EXPECT_EQ(result_of("memreport"), failed(EINVAL)) << "EBADF, which the protocol cannot transmit";
}

TEST_F(store_control_file, writes_a_memory_report) {
  EXPECT_EQ(text_of("memreport", {path("report")}), "OK");
  EXPECT_THAT(content(path("report")), StartsWith("full talloc report on "));
  EXPECT_EQ(text_of("logfile", {path("trace")}), "OK");
  EXPECT_EQ(text_of("memreport"), "OK");
  EXPECT_THAT(content(path("trace")), HasSubstr("full talloc report on "));
  EXPECT_EQ(result_of("memreport", {path("absent/report")}), failed(EINVAL));
  EXPECT_EQ(result_of("memreport", {path("a"), path("b")}), failed(EINVAL));
}

}  // namespace
}  // namespace xenpv::contract
