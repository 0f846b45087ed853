// An owning wrapper for a libxenstore connection, and a fixture that provides each case with its
// own subtree. The wrapper's functions throw std::system_error on failure. A call that is expected
// to fail uses a try_ function, or the C library through get().
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/c_libraries.hpp"
#include "contract/environment.hpp"

namespace xenpv::contract {

struct store_event {
  std::string path;
  std::string token;
  friend bool operator==(const store_event&, const store_event&) = default;
};
std::ostream& operator<<(std::ostream& out, const store_event& event);

class store_session {
 public:
  explicit store_session(unsigned long flags = 0);

  [[nodiscard]] xs_handle* get() const { return handle_.get(); }
  void close() { handle_.reset(); }

  /// Returns nullopt only for ENOENT.
  [[nodiscard]] std::optional<std::string> read(const std::string& path,
                                                xs_transaction_t transaction = XBT_NULL) const;
  void write(const std::string& path, std::string_view value,
             xs_transaction_t transaction = XBT_NULL) const;
  /// Returns the child names in sorted order, because xenstored does not guarantee any order.
  [[nodiscard]] std::vector<std::string> list(const std::string& path,
                                              xs_transaction_t transaction = XBT_NULL) const;
  void remove(const std::string& path) const;
  [[nodiscard]] std::vector<xs_permissions> permissions(const std::string& path) const;

  [[nodiscard]] outcome try_read(const std::string& path) const;
  [[nodiscard]] outcome try_write(const std::string& path, std::string_view value = "x",
                                  xs_transaction_t transaction = XBT_NULL) const;

  [[nodiscard]] xs_transaction_t start_transaction() const;
  [[nodiscard]] outcome commit(xs_transaction_t transaction) const;
  void abort(xs_transaction_t transaction) const;

  /// Registers a watch and consumes its initial event.
  void watch(const std::string& path, const std::string& token) const;
  [[nodiscard]] std::optional<store_event> take_event(
      std::chrono::milliseconds timeout = time_limit) const;

 private:
  struct closer {
    void operator()(xs_handle* handle) const { xs_close(handle); }
  };
  std::unique_ptr<xs_handle, closer> handle_;
};

/// Returns true if libxenstore uses xenstored's socket (simulator, dom0), and false if it uses
/// /dev/xen/xenbus. The kernel answers some /dev/xen/xenbus requests itself.
[[nodiscard]] bool store_is_a_socket();

/// Provides each case with the subtree data/xenpv-contract/PID, which guests may write to, and
/// removes the subtree afterwards.
class store_case : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Returns a path relative to the domain's home directory.
  [[nodiscard]] std::string node(std::string_view name) const {
    return name.empty() ? top_ : top_ + '/' + std::string(name);
  }
  [[nodiscard]] std::string absolute(std::string_view name) const {
    return home_ + '/' + node(name);
  }
  [[nodiscard]] const std::string& home() const { return home_; }

  /// Checks that no event is pending for `session`. Events keep their order, so all earlier events
  /// arrive before the fence node's event. Call watch_fence() first.
  void watch_fence(const store_session& session);
  [[nodiscard]] testing::AssertionResult nothing_before_fence(const store_session& session);

  store_session store_;

 private:
  std::string home_;
  std::string top_;
};

}  // namespace xenpv::contract
