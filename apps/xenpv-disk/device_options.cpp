#include "device_options.hpp"

#include "base/parse.hpp"
#include "cli/value.hpp"

namespace xenpv::disk_app {

void add_device_options(cli::command& command, device_options& options) {
  auto& frontend = options.frontend;
  command
      .flag("--take", options.take,
            "take over the disk from the kernel driver, if the disk is unused")
      .flag("--force", options.force,
            "open the disk even if this guest also uses it as an emulated IDE or SCSI disk: two "
            "drivers then write to the same disk")
      .option("--queues N", frontend.queues, "use at most N queues, each on its own CPU",
              cli::whole_number<unsigned>(1, 64))
      .option("--pages N", frontend.pages,
              "grant N pages for rings and data (default: half of xen-gntalloc's free pages, minus "
              "a reserve)",
              cli::whole_number<std::size_t>(1, 1U << 20U))
      .option("--request-deadline DURATION", frontend.request_deadline,
              "fail requests that the backend does not complete within this time; 0: never, as in "
              "Linux: stalled storage then blocks its users instead of returning errors",
              parse_duration, {.by_default = "0"})
      .option("--recovery-timeout DURATION", frontend.recovery_timeout,
              "how long requests wait for a lost backend (restart, save and restore, migration) "
              "before they fail; the backend may still return later. 0: forever",
              parse_duration, {.by_default = "5min"})
      .flag("--strict-flush", frontend.strict_flush,
            "fail flushes when the backend stops offering flush (default: warn once, then report "
            "success without sending flushes, as Linux does)")
      .flag("--trust-backend-cache", frontend.trust_backend_cache,
            "after the loss of a backend, assume that it kept unflushed writes (default: the next "
            "flush fails once)");
}

}  // namespace xenpv::disk_app
