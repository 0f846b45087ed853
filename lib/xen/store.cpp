#include "xenpv/xen/store.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/parse.hpp"
#include "xen/cure.hpp"
#include "xen/store_call.hpp"
#include "xenpv/base/error.hpp"

// Xen's headers do not declare their functions extern "C".
extern "C" {
#include <xenstore.h>
}

namespace xenpv::xen {
namespace {

/// Aborts the transaction on destruction unless it was committed. Ignores the reply to the abort.
class open_transaction {
 public:
  explicit open_transaction(xs_handle* handle)
      : handle_(handle), id_(xs_transaction_start(handle)) {
    if (id_ == XBT_NULL) throw_request_failed(handle, errno, "start a transaction");
  }
  open_transaction(const open_transaction&) = delete;
  open_transaction& operator=(const open_transaction&) = delete;
  ~open_transaction() {
    if (id_ != XBT_NULL) xs_transaction_end(handle_, id_, true);
  }

  [[nodiscard]] xs_transaction_t id() const noexcept { return id_; }

  /// Returns false if another client changed nodes that the transaction accessed.
  [[nodiscard]] bool commit() {
    if (xs_transaction_end(handle_, std::exchange(id_, XBT_NULL), false)) return true;
    if (errno == EAGAIN) return false;
    throw_request_failed(handle_, errno, "commit a transaction");
  }

 private:
  xs_handle* handle_;
  xs_transaction_t id_;
};

}  // namespace

store::store(xs_handle* handle) noexcept : store_operations(handle, XBT_NULL) {}

store::store(store&& other) noexcept
    : store_operations(std::exchange(other.handle_, nullptr), XBT_NULL) {}

store& store::operator=(store&& other) noexcept {
  if (this != &other) {
    xs_close(handle_);
    handle_ = std::exchange(other.handle_, nullptr);
  }
  return *this;
}

store::~store() {
  xs_close(handle_);
}

store store::open() {
  auto* handle = xs_open(0);
  if (handle == nullptr) {
    const int error_number = errno;
    throw_store_open_failed(std::getenv("XENSTORED_PATH"), error_number);
  }
  return store(handle);
}

void store::transact(const std::function<void(store_transaction&)>& body, unsigned attempts) {
  for (unsigned tries = 0; tries < attempts; ++tries) {
    open_transaction opened(handle_);
    store_transaction operations(handle_, opened.id());
    try {
      body(operations);
    } catch (const failure& e) {
      // After a migration, the kernel also fails requests inside the transaction with EAGAIN.
      if (e.code() == std::errc::resource_unavailable_try_again) continue;
      throw;
    }
    if (opened.commit()) return;
  }
  throw_errno(EAGAIN, "commit a transaction",
              fmt::format("all {} attempts conflicted with other clients", attempts));
}

bool store::write_if_exists(const std::string& path, std::string_view value) {
  bool exists = false;
  transact([&](store_transaction& transaction) {
    exists = transaction.read_if_exists(path).has_value();
    if (exists) transaction.write(path, value);
  });
  return exists;
}

void store::watch(const std::string& path, const std::string& token) {
  if (!xs_watch(handle_, path.c_str(), token.c_str()))
    throw_request_failed(handle_, errno, fmt::format("watch {}", path));
}

void store::unwatch(const std::string& path, const std::string& token) {
  if (!xs_unwatch(handle_, path.c_str(), token.c_str()))
    throw_request_failed(handle_, errno, fmt::format("stop watching {}", path));
}

int store::watch_descriptor() {
  const int descriptor = xs_fileno(handle_);
  if (descriptor < 0) throw_errno("create a file descriptor for xenstore watches");
  return descriptor;
}

std::optional<store_event> store::next_event() {
  const malloced<char*> event(xs_check_watch(handle_));
  if (event)
    return store_event{.path = event.get()[XS_WATCH_PATH], .token = event.get()[XS_WATCH_TOKEN]};
  if (errno == EAGAIN) return std::nullopt;
  throw failure(errc::lost_connection, "read a xenstore watch event", "xenstored has exited");
}

bool store::is_connected() const noexcept {
  return answers(handle_);
}

std::string store::domain_path(domid domain) const {
  const malloced<char> path(xs_get_domain_path(handle_, raw(domain)));
  if (!path)
    throw_request_failed(handle_, errno, fmt::format("query the path of domain {}", domain));
  return path.get();
}

bool store::is_domain_introduced(domid domain) const {
  // libxenstore returns false both for "no" and for a failure. Only a failure sets errno, except
  // that an interrupted and retried write sets it to EINTR.
  errno = 0;
  if (xs_is_domain_introduced(handle_, raw(domain))) return true;
  const auto operation = [&] {
    return fmt::format("check whether domain {} is introduced", domain);
  };
  if (errno == EACCES)
    throw_errno(operation(), "xenstored answers this request only for the control domain");
  if (errno != 0 && errno != EINTR) throw_request_failed(handle_, errno, operation());
  return false;
}

std::optional<domid> store::own_domid() const {
  const auto text = read_if_exists("domid");
  if (!text) return std::nullopt;
  return domid(
      static_cast<std::uint16_t>(parse_unsigned(*text, "domid", 0, raw(domid_self) - 1U).value()));
}

}  // namespace xenpv::xen
