// The connections of the intercepted processes to the host: one for each process that has used a
// device, like the connection that libxensim.so opens in a process. A connection ends with its
// process, so that the host releases the process's resources.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>

#include "sim/guest/attachment.hpp"
#include "sim/intercept/system_call.hpp"
#include "sim/reactor.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim::intercept {

class processes {
 public:
  explicit processes(reactor& events);

  /// Makes the connection of the calling process the current one, which the drivers use. Returns
  /// nullptr and sets errno on failure.
  [[nodiscard]] guest::attachment* act_for(const system_call& call);

 private:
  struct process {
    unique_fd process_descriptor;
    std::unique_ptr<guest::attachment> connection;
  };
  /// Returns the process of the calling thread, or 0.
  [[nodiscard]] pid_t process_of(const system_call& call);
  void forget(pid_t id);

  reactor& reactor_;
  std::map<pid_t, process> processes_;
  std::map<pid_t, pid_t> threads_;  ///< the processes of threads that are not the leader
};

}  // namespace xenpv::sim::intercept
