// CONTROL requests: the commands of xenstore-control, in the versions of Xen 4.17 and 4.20.
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "sim/xen_version.hpp"
#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::store_client;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
using wire::xs_type;

/// The daemon writes no files, as in the default options.
store_control_options without_files(xen_version version) {
  auto controls = controls_of(version);
  controls.writes_files = false;
  return controls;
}

class store_control : public test::store_fixture {
 protected:
  explicit store_control(store_control_options controls = without_files(xen_version::xen_4_17))
      : store_fixture({}, controls) {}

  /// `words`: the command and its parameters, separated by spaces.
  std::string control(store_client& client, std::string words) {
    for (auto& letter : words)
      if (letter == ' ') letter = '\0';
    auto reply = client.call(xs_type::control, words + '\0');
    if (reply.ends_with('\0')) reply.pop_back();
    return reply;
  }
  std::string control(const std::string& words) { return control(zero, words); }
};

class store_control_4_20 : public store_control {
 protected:
  store_control_4_20() : store_control(without_files(xen_version::xen_4_20)) {}
};

/// Lets the daemon write files, below a directory that is removed afterwards.
class store_control_files : public store_control {
 protected:
  explicit store_control_files(xen_version version = xen_version::xen_4_17)
      : store_control(controls_of(version)) {
    auto name = (std::filesystem::temp_directory_path() / "xenpv-control-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    directory_ = name;
  }
  ~store_control_files() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  [[nodiscard]] std::string path(const char* name) const { return directory_ / name; }
  [[nodiscard]] static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::filesystem::path directory_;
};

class store_control_files_4_20 : public store_control_files {
 protected:
  store_control_files_4_20() : store_control_files(xen_version::xen_4_20) {}
};

struct control_case {
  std::string payload;
  std::string reply;
};

void PrintTo(const control_case& item, std::ostream* out) {
  *out << test::readable_payload(item.payload);
}

class store_control_replies : public store_control,
                              public ::testing::WithParamInterface<control_case> {};

TEST_P(store_control_replies, are_those_of_xenstored) {
  EXPECT_EQ(zero.call(xs_type::control, GetParam().payload), GetParam().reply);
}

INSTANTIATE_TEST_SUITE_P(
    commands, store_control_replies,
    ::testing::Values(
        control_case{"check\0"s, "OK\0"s}, control_case{"check\0more\0"s, "EINVAL"},
        control_case{"print\0hello\0"s, "OK\0"s}, control_case{"print\0"s, "EINVAL"},
        control_case{"log\0on\0"s, "OK\0"s}, control_case{"log\0off\0"s, "OK\0"s},
        control_case{"log\0maybe\0"s, "EINVAL"}, control_case{"log\0"s, "EINVAL"},
        control_case{"log\0+io\0"s, "EINVAL"}, control_case{"logfile\0"s, "EINVAL"},
        control_case{"logfile\0/absent/file\0"s, "OK\0"s}, control_case{"memreport\0"s, "EINVAL"},
        control_case{"memreport\0/absent/file\0"s, "EINVAL"},
        control_case{"memreport\0a\0b\0"s, "EINVAL"}, control_case{"live\0"s, "EINVAL"},
        control_case{"\0"s, "EINVAL"}, control_case{"", "EINVAL"}, control_case{"check", "EINVAL"},
        control_case{"quota\0set\0"s, "EINVAL"}, control_case{"quota\0set\0nodes\0"s, "EINVAL"},
        control_case{"quota\0set\0nodes\0"
                     "0\0"s,
                     "EINVAL"},
        control_case{"quota\0set\0nodes\0many\0"s, "EINVAL"},
        control_case{"quota\0set\0node-permissions\0"
                     "1\0"s,
                     "EINVAL"},
        control_case{"quota\0"
                     "9\0"s,
                     "ENOENT"},
        control_case{"quota\0"
                     "65537\0"s,
                     "ENOENT"},
        control_case{"quota\0-1\0"s, "ENOENT"}, control_case{"quota\0max\0-r\0"s, "EINVAL"},
        control_case{"quota-soft\0set\0nodes\0"
                     "1\0"s,
                     "EINVAL"},
        control_case{"quota-soft\0"
                     "0\0"s,
                     "EINVAL"}));

TEST_F(store_control, is_for_domain_0_only) {
  for (const auto* words : {"check", "help", "quota", "nonsense"})
    EXPECT_EQ(control(one, words), "EACCES") << words;
}

TEST_F(store_control, lists_its_commands) {
  EXPECT_EQ(control("help"),
            "check\t\n"
            "log\ton|off\n"
            "live-update\t[-c <cmdline>] [-F] [-t <timeout>] <file>\n"
            "    Default timeout is 60 seconds.\n"
            "logfile\t<file>\n"
            "memreport\t[<file>]\n"
            "print\t<string>\n"
            "quota\t[set <name> <val>|<domid>]\n"
            "quota-soft\t[set <name> <val>]\n"
            "help\t\n");
}

TEST_F(store_control_4_20, aligns_its_commands) {
  EXPECT_EQ(control("help"),
            "check           \n"
            "log             [on|off|+<switch>|-<switch>]\n"
            "live-update     [-c <cmdline>] [-F] [-t <timeout>] <file>\n"
            "    Default timeout is 60 seconds.\n"
            "logfile         <file>\n"
            "memreport       [<file>]\n"
            "print           <string>\n"
            "quota           [set <name> <val>|<domid>|max [-r]]\n"
            "quota-soft      [set <name> <val>]\n"
            "help            \n");
}

// Quotas.

TEST_F(store_control, lists_the_quotas) {
  EXPECT_EQ(control("quota"),
            "Quota settings:\n"
            "nodes            :     1000 Nodes per domain\n"
            "watches          :      128 Watches per domain\n"
            "transactions     :       10 Transactions per domain\n"
            "outstanding      :       20 Outstanding requests per domain\n"
            "transaction-nodes:     1024 Max. number of accessed nodes per transaction\n"
            "memory           :  2621440 Total Xenstore memory per domain (error level)\n"
            "node-size        :     2048 Max. size of a node\n"
            "path-max         :     2048 Max. length of a node path\n"
            "permissions      :        5 Max. number of permissions per node\n");
  EXPECT_EQ(control("quota-soft"),
            "Quota settings:\n"
            "memory           :  2097152 Total Xenstore memory per domain (warning level)\n");
}

TEST_F(store_control_4_20, lists_the_quotas) {
  EXPECT_EQ(control("quota"),
            "Quota settings:\n"
            "nodes            :     1000 Nodes per domain\n"
            "watches          :      128 Watches per domain\n"
            "outstanding      :       20 Outstanding requests per domain\n"
            "memory           :  2621440 Total Xenstore memory per domain (error level)\n"
            "transactions     :       10 Active transactions per domain\n"
            "transaction-nodes:     1024 Max. number of accessed nodes per transaction\n"
            "node-permissions :        5 Max. number of permissions per node\n"
            "path-max         :     2048 Max. length of a node path\n"
            "node-size        :     2048 Max. size of a node\n");
}

TEST_F(store_control, enforces_a_changed_quota) {
  EXPECT_EQ(control("quota set nodes 3"), "OK");
  EXPECT_EQ(one.write("a", ""), "OK");
  EXPECT_EQ(one.write("b", ""), "OK");
  EXPECT_EQ(one.write("c", ""), "ENOSPC");
  EXPECT_EQ(control("quota set nodes 4"), "OK");
  EXPECT_EQ(one.write("c", ""), "OK");
  EXPECT_EQ(control("quota set path-max 10"), "OK");
  EXPECT_EQ(one.read("0123456789"), "ENOENT");
  EXPECT_EQ(one.read("0123456789a"), "EINVAL");
  EXPECT_EQ(control("quota set watches 1"), "OK");
  EXPECT_EQ(one.watch("a", "1"), "OK");
  EXPECT_EQ(one.watch("a", "2"), "OK");
  EXPECT_EQ(one.watch("a", "3"), "E2BIG");
  EXPECT_EQ(control("quota-soft set memory 5"), "OK");
  EXPECT_THAT(control("quota-soft"), HasSubstr("memory           :        5 Total"));
}

TEST_F(store_control, reports_what_a_domain_uses) {
  ASSERT_EQ(one.write("a/b", "value"), "OK");
  ASSERT_EQ(one.watch("a", "token"), "OK");
  ASSERT_EQ(one.start(), 1U);
  EXPECT_THAT(control("quota 1"), MatchesRegex("Domain 1:\n"
                                               "nodes           :        3\n"
                                               "watches         :        1\n"
                                               "transactions    :        1\n"
                                               "outstanding     :        0\n"
                                               "memory          : +[1-9][0-9]*\n"));
  EXPECT_THAT(control("quota max"), StartsWith("Domain 0:\n")) << "4.17 parses any word";
}

TEST_F(store_control_4_20, reports_the_highest_use_of_a_domain) {
  ASSERT_EQ(one.write("abc", std::string(100, 'v')), "OK");
  ASSERT_EQ(one.set_permissions("abc", "n1 r2 r3"), "OK");
  ASSERT_EQ(one.rm("abc"), "OK");
  const auto tx = one.start();
  ASSERT_EQ(one.write("d", "v", tx), "OK");
  ASSERT_EQ(one.abort(tx), "OK");
  const auto usage = control("quota 1");
  EXPECT_THAT(usage, StartsWith("Domain 1:\n"
                                "nodes            :        1 (max        2)\n"
                                "watches          :        0 (max        0)\n"
                                "outstanding      :        0 (max        0)\n"));
  EXPECT_THAT(usage, HasSubstr("transactions     :        0 (max        1)\n"
                               "transaction-nodes:        0 (max        2)\n"
                               "node-permissions :        0 (max        3)\n"
                               "path-max         :        0 (max        3)\n"));
  // The header has 24 bytes, and each of the three permissions has 8.
  EXPECT_THAT(usage, HasSubstr("node-size        :        0 (max      148)\n"));
  EXPECT_EQ(control("quota 9"), "ENOENT");
}

TEST_F(store_control_4_20, reports_the_highest_use_of_all_guests) {
  ASSERT_EQ(one.write("a", ""), "OK");
  ASSERT_EQ(two.watch("a", "1"), "OK");
  ASSERT_EQ(two.watch("a", "2"), "OK");
  ASSERT_EQ(zero.write("/a/long/path/of/domain/0", ""), "OK");
  EXPECT_EQ(control("quota max"),
            "Max. seen accounting values:\n"
            "nodes            :        2\n"
            "watches          :        2\n"
            "outstanding      :        0\n"
            "memory           :        0\n"
            "transactions     :        0\n"
            "transaction-nodes:        0\n"
            "node-permissions :        1\n"
            "path-max         :        1\n"
            "node-size        :       32\n");
  EXPECT_THAT(control("quota max -r"), HasSubstr("watches          :        0\n"));
  EXPECT_THAT(control("quota 2"), HasSubstr("watches          :        2 (max        2)\n"));
  EXPECT_THAT(control("quota max"), HasSubstr("watches          :        0\n"));
  EXPECT_EQ(control("quota max -x"), "EINVAL");
}

// The trace file.

TEST_F(store_control_4_20, has_trace_switches) {
  EXPECT_EQ(control("log"),
            "Log switch settings:\n"
            "obj     : on\n"
            "io      : on\n"
            "wrl     : off\n"
            "acc     : off\n"
            "tdb     : off\n");
  EXPECT_EQ(control("log +acc"), "OK");
  EXPECT_EQ(control("log -obj"), "OK");
  EXPECT_THAT(control("log"), AllOf(HasSubstr("obj     : off\n"), HasSubstr("acc     : on\n")));
  for (const auto* word : {"log acc", "log +nothing", "log +", "log on off"})
    EXPECT_EQ(control(word), "EINVAL") << word;
}

TEST_F(store_control_files, traces_requests_replies_and_events) {
  EXPECT_EQ(control("logfile " + path("trace")), "OK");
  ASSERT_EQ(one.watch("a", "token"), "OK");
  ASSERT_EQ(one.write("a", "value"), "OK");
  EXPECT_EQ(one.read("b"), "ENOENT");
  EXPECT_EQ(control("log off"), "OK");
  ASSERT_EQ(one.write("silent", ""), "OK");
  const auto trace = content(path("trace"));
  EXPECT_THAT(trace, StartsWith("\n***\n"));
  EXPECT_THAT(trace, HasSubstr(" WATCH (a token )\n"));
  EXPECT_THAT(trace, HasSubstr(" WATCH (OK )\n"));
  EXPECT_THAT(trace, HasSubstr(" WRITE (a value)\n"));
  EXPECT_THAT(trace, HasSubstr(" WATCH_EVENT (a token )\n"));
  EXPECT_THAT(trace, HasSubstr(" ERROR (ENOENT )\n"));
  EXPECT_THAT(trace, HasSubstr("\nIN 0x"));
  EXPECT_THAT(trace, HasSubstr("\nOUT 0x"));
  EXPECT_THAT(trace, Not(HasSubstr("silent")));
  EXPECT_EQ(control("log on"), "OK");
  ASSERT_EQ(one.write("again", ""), "OK");
  EXPECT_THAT(content(path("trace")), AllOf(StartsWith(trace), HasSubstr("(again )")));
}

TEST_F(store_control_files_4_20, names_the_domain_in_the_trace) {
  EXPECT_EQ(control("logfile " + path("trace")), "OK");
  ASSERT_EQ(two.read("absent"), "ENOENT");
  EXPECT_THAT(content(path("trace")), HasSubstr("\nio: IN 0x"));
  EXPECT_THAT(content(path("trace")), HasSubstr(" (d2) "));
  EXPECT_EQ(control("log -io"), "OK");
  ASSERT_EQ(two.read("silent"), "ENOENT");
  EXPECT_THAT(content(path("trace")), Not(HasSubstr("silent")));
}

TEST_F(store_control_files, writes_a_memory_report) {
  EXPECT_EQ(control("memreport"), "EINVAL") << "no file was selected";
  EXPECT_EQ(control("memreport " + path("report")), "OK");
  EXPECT_THAT(content(path("report")),
              AllOf(StartsWith("full talloc report on 'null_context' (total "),
                    HasSubstr("    struct connection  "), HasSubstr("    nodes of domain 2  ")));
  EXPECT_EQ(control("memreport " + path("absent/report")), "EINVAL");
  EXPECT_EQ(control("logfile " + path("trace")), "OK");
  EXPECT_EQ(control("log off"), "OK");
  EXPECT_EQ(control("memreport"), "OK") << "the selected file";
  EXPECT_THAT(content(path("trace")), HasSubstr("full talloc report"));
}

TEST_F(store_control, writes_no_files_by_default) {
  const auto file = std::filesystem::temp_directory_path() / "xenpv-must-not-exist";
  EXPECT_EQ(control("logfile " + file.string()), "OK");
  EXPECT_EQ(control("memreport"), "EINVAL");
  EXPECT_EQ(control("memreport " + file.string()), "EINVAL");
  EXPECT_FALSE(std::filesystem::exists(file));
}

// Live update.

TEST_F(store_control, refuses_a_live_update) {
  EXPECT_EQ(control("live-update"), "EINVAL");
  EXPECT_EQ(control("live-update -x"), "EINVAL");
  EXPECT_EQ(control("live-update -a"), "No live-update session active.");
  EXPECT_EQ(control("live-update -c options"), "Not in live-update session.");
  EXPECT_EQ(control("live-update -s"), "Not in live-update session.");
  EXPECT_EQ(control("live-update -s -t"), "EINVAL");
  EXPECT_EQ(control("live-update -f /absent"), "File not accessible.");
  EXPECT_EQ(control("live-update -f /etc/passwd"), "File not executable.");
  EXPECT_EQ(control("live-update -f /bin/sh"), "OK");
  EXPECT_EQ(control("live-update -f /bin/sh"), "live-update session already active.");
  EXPECT_EQ(control("live-update -c options"), "OK");
  const auto tx = one.start();
  EXPECT_EQ(control("live-update -s -t 1"), "Overlapping transactions");
  ASSERT_EQ(one.abort(tx), "OK");
  EXPECT_EQ(control("live-update -s"), "Not in live-update session.") << "the session has ended";
  EXPECT_EQ(control("live-update -f /bin/sh"), "OK");
  EXPECT_EQ(control("live-update -s -F -t 60"), "Error activating new binary.");
}

TEST_F(store_control, ends_a_live_update_session_with_its_connection) {
  {
    store_client other(service, 0);
    EXPECT_EQ(control(other, "live-update -f /bin/sh"), "OK");
    EXPECT_EQ(control("live-update -c options"), "Not in live-update session.");
  }
  EXPECT_EQ(control("live-update -a"), "No live-update session active.");
}

TEST_F(store_control, does_not_know_the_requests_of_later_releases) {
  for (const std::uint32_t type : {23U, 24U, 25U, 26U})
    EXPECT_EQ(zero.call(static_cast<xs_type>(type), "0\0"s), "ENOSYS") << type;
  EXPECT_EQ(zero.call(xs_type::watch,
                      "a\0token\0"
                      "1\0"s),
            "EINVAL")
      << "a watch has no depth";
}

}  // namespace
}  // namespace xenpv::sim
