// The trace file of the simulated xenstored, which `xenstore-control logfile` selects: one line for
// each request, reply and watch event, in the format of xenstored. Also writes its memory report.
// Not thread-safe; writes block the host thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sim/store_control_options.hpp"
#include "wire/xs.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

enum class store_direction { in, out };

class store_trace {
 public:
  explicit store_trace(const store_control_options& options) : options_(options) {}

  /// Selects another file and opens it. Like the daemon, does not report errors.
  void select(std::string_view path);
  /// Opens the selected file for appending; does nothing if none was selected.
  void open();
  /// Stops tracing; the file stays selected.
  void close() noexcept { file_.reset(); }

  [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(file_); }

  /// Turns a kind of message on or off: "+io" or "-io". Returns false for an unknown kind. Only
  /// "io" has messages in the simulator.
  [[nodiscard]] bool set_switch(std::string_view change);
  /// Returns the reply to `log` without a parameter, without the terminating NUL.
  [[nodiscard]] std::string format_switches() const;

  /// Appends a request, a reply or an event.
  void record(store_direction direction, std::uint64_t connection, domid domain, wire::xs_type type,
              std::string_view payload) const;
  /// Appends text to the open file; does nothing if there is none.
  void write(std::string_view text) const;
  /// Appends a report to the file at `path`, or by default to the selected file, even if tracing is
  /// off. Returns false if the file cannot be opened or none was selected.
  [[nodiscard]] bool write_report(std::optional<std::string_view> path,
                                  std::string_view report) const;

 private:
  [[nodiscard]] unique_fd open_file(const std::string& path) const;

  store_control_options options_;
  std::string path_;
  unique_fd file_;
  std::array<bool, 5> switches_{true, true, false, false, false};
};

}  // namespace xenpv::sim
