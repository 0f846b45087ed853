// A helper process that keeps some privileges for a server that drops its own, and the server's
// connection to it. The server forks it while it has one thread and no keys. The helper carries out
// requests that helper_request.hpp permits, one at a time, and exits when the server exits. The
// caller supplies the operations.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "sandbox/helper_request.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sandbox {

/// The result of an operation.
struct helper_outcome {
  std::uint64_t value = 0;
  unique_fd descriptor = {};  ///< sent to the server
};

/// Carries out the operations, in the helper. Called only with admitted requests. Throws `failure`
/// for the server.
using helper_operations = std::function<helper_outcome(helper_policy& policy, const helper_request&,
                                                       const std::vector<unique_fd>& descriptors)>;

/// The helper's side: answers the requests that arrive on `socket`, a SOCK_SEQPACKET socket, until
/// the server closes its end. Answers malformed and forbidden requests with an error.
void serve_requests(int socket, helper_role role, const helper_operations& operations);

/// The server's connection to its helper. Calls are serialised; any thread may call.
class root_helper {
 public:
  /// Runs first in the helper, after its other descriptors have been closed: opens the files that
  /// the helper needs, and drops the privileges that it does not need.
  using preparation = std::function<void()>;

  /// Forks the helper, which ignores the signals that stop a server and closes all descriptors but
  /// the standard streams. Throws `failure`; errc::invalid_argument if other threads run.
  root_helper(helper_role role, const char* name, const preparation& prepare,
              const helper_operations& operations);
  root_helper(const root_helper&) = delete;
  root_helper& operator=(const root_helper&) = delete;
  /// Closes the connection, which ends the helper. Does not wait for a helper that hangs in the
  /// kernel.
  ~root_helper() = default;

  /// Sends a request with duplicates of `descriptors` and waits for the reply. Throws the helper's
  /// error, or errc::lost_connection if the helper has ended.
  helper_outcome ask(const helper_request& request, const std::vector<int>& descriptors = {});
  /// The same, with an operation that needs only numbers and descriptors.
  helper_outcome ask(helper_operation operation, const std::array<std::uint64_t, 5>& numbers = {},
                     const std::vector<int>& descriptors = {});
  /// Like ask(), but returns nullopt instead of waiting for another thread's request.
  std::optional<helper_outcome> try_ask(const helper_request& request,
                                        const std::vector<int>& descriptors = {});

  [[nodiscard]] pid_t process() const noexcept { return process_; }

 private:
  /// The caller holds `mutex_`.
  helper_outcome exchange(const helper_request& request, const std::vector<int>& descriptors);

  std::mutex mutex_;
  unique_fd socket_;
  pid_t process_ = -1;
};

}  // namespace xenpv::sandbox
