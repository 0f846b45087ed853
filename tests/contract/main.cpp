// Entry point. Runs the contract cases or, with --peer, serves the two-domain cases in domain 0.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string_view>

#include "contract/environment.hpp"
#include "contract/peer/server.hpp"

namespace {

constexpr int exit_usage = 2;
constexpr int exit_not_possible = 77;

constexpr const char* help_text =
    "contract_tests: test the parts of libxenevtchn, libxengnttab and libxenstore that xenpv "
    "uses,\n"
    "and Xen's device files\n"
    "\n"
    "  contract_tests [--gtest_filter=PATTERN ...]   run the cases in this domain\n"
    "  contract_tests --peer DOMID                   in domain 0: serve the two-domain cases of "
    "DOMID\n"
    "\n"
    "Runs on the simulator (xenpv-sim run -- contract_tests) and, as root, in a Xen guest or "
    "dom0.\n"
    "The cases named peer_* need XENPV_CONTRACT_PEER=1 and a peer in domain 0, and are skipped\n"
    "otherwise. A peer exits when the guest is destroyed, or on a signal.\n"
    "Exit status: 0 all passed or skipped, 1 failed, 2 usage, 77 neither Xen nor the simulator "
    "here.\n"
    "All options of GoogleTest work; some of them:\n\n";

[[nodiscard]] bool has_argument(int argc, char** argv, std::string_view prefix) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]).starts_with(prefix)) return true;
  return false;
}

[[nodiscard]] std::optional<std::uint32_t> parse_domid(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value >= 0x7FF0)
    return std::nullopt;
  return value;
}

}  // namespace

// libxenstore 4.17 leaks the body of each event that XS_UNWATCH_FILTER drops. Only LeakSanitizer
// calls this function.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libxenstore.so";
}

int main(int argc, char** argv) try {
  // libxenstore sets SIGPIPE to SIG_IGN for each request and restores the previous action
  // afterwards. Set SIG_IGN permanently, so that no thread ever sees a different action.
  std::signal(SIGPIPE, SIG_IGN);
  const bool wants_peer = has_argument(argc, argv, "--peer");
  const auto guest = wants_peer && argc == 3 && std::string_view(argv[1]) == "--peer"
                         ? parse_domid(argv[2])
                         : std::nullopt;
  if (wants_peer && !guest) {
    std::fputs("contract_tests: usage: contract_tests --peer DOMID\n", stderr);
    return exit_usage;
  }
  const bool wants_help = has_argument(argc, argv, "--help");
  if (wants_help) std::fputs(help_text, stdout);
  if (!wants_help && !has_argument(argc, argv, "--gtest_list_tests")) {
    if (const auto reason = xenpv::contract::reason_not_possible()) {
      std::fprintf(stderr, "contract_tests: %s\n", reason->c_str());
      return exit_not_possible;
    }
  }
  if (guest) return xenpv::contract::serve_peer(*guest);
  testing::InitGoogleMock(&argc, argv);
  xenpv::contract::install_watchdog();
  return RUN_ALL_TESTS();
} catch (const std::exception& error) {
  std::fprintf(stderr, "contract_tests: %s\n", error.what());
  return 1;
}
