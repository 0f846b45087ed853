#include "contract/store_session.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ostream>
#include <system_error>

namespace xenpv::contract {

namespace {

struct releaser {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using c_memory = std::unique_ptr<T, releaser>;

[[noreturn]] void fail(const std::string& operation) {
  throw std::system_error(errno, std::generic_category(), operation);
}

constexpr const char* fence_token = "fence";

}  // namespace

std::ostream& operator<<(std::ostream& out, const store_event& event) {
  return out << "event " << event.path << " (token " << event.token << ')';
}

store_session::store_session(unsigned long flags) : handle_(xs_open(flags)) {
  if (!handle_) fail("xs_open");
}

std::optional<std::string> store_session::read(const std::string& path,
                                               xs_transaction_t transaction) const {
  unsigned length = 0;
  const c_memory<char> value(
      static_cast<char*>(xs_read(get(), transaction, path.c_str(), &length)));
  if (value) return std::string(value.get(), length);
  if (errno == ENOENT) return std::nullopt;
  fail("xs_read " + path);
}

void store_session::write(const std::string& path, std::string_view value,
                          xs_transaction_t transaction) const {
  if (!try_write(path, value, transaction).ok) fail("xs_write " + path);
}

std::vector<std::string> store_session::list(const std::string& path,
                                             xs_transaction_t transaction) const {
  unsigned count = 0;
  const c_memory<char*> names(xs_directory(get(), transaction, path.c_str(), &count));
  if (!names) fail("xs_directory " + path);
  std::vector<std::string> result(names.get(), names.get() + count);
  std::sort(result.begin(), result.end());
  return result;
}

void store_session::remove(const std::string& path) const {
  if (!xs_rm(get(), XBT_NULL, path.c_str())) fail("xs_rm " + path);
}

std::vector<xs_permissions> store_session::permissions(const std::string& path) const {
  unsigned count = 0;
  const c_memory<xs_permissions> list(xs_get_permissions(get(), XBT_NULL, path.c_str(), &count));
  if (!list) fail("xs_get_permissions " + path);
  return {list.get(), list.get() + count};
}

outcome store_session::try_read(const std::string& path) const {
  unsigned length = 0;
  const c_memory<void> value(xs_read(get(), XBT_NULL, path.c_str(), &length));
  return value ? succeeded : failed(errno);
}

outcome store_session::try_write(const std::string& path, std::string_view value,
                                 xs_transaction_t transaction) const {
  return xs_write(get(), transaction, path.c_str(), value.data(),
                  static_cast<unsigned>(value.size()))
             ? succeeded
             : failed(errno);
}

xs_transaction_t store_session::start_transaction() const {
  const auto transaction = xs_transaction_start(get());
  if (transaction == XBT_NULL) fail("xs_transaction_start");
  return transaction;
}

outcome store_session::commit(xs_transaction_t transaction) const {
  return xs_transaction_end(get(), transaction, false) ? succeeded : failed(errno);
}

void store_session::abort(xs_transaction_t transaction) const {
  if (!xs_transaction_end(get(), transaction, true)) fail("xs_transaction_end");
}

void store_session::watch(const std::string& path, const std::string& token) const {
  if (!xs_watch(get(), path.c_str(), token.c_str())) fail("xs_watch " + path);
  const auto event = take_event();
  if (event != store_event{path, token})
    throw std::runtime_error("registering watch " + path + " did not fire an event");
}

std::optional<store_event> store_session::take_event(std::chrono::milliseconds timeout) const {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const c_memory<char*> event(xs_check_watch(get()));
    if (event) return store_event{event.get()[XS_WATCH_PATH], event.get()[XS_WATCH_TOKEN]};
    if (errno != EAGAIN) fail("xs_check_watch");
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !readable_within(xs_fileno(get()), left)) return std::nullopt;
  }
}

bool store_is_a_socket() {
  struct stat facts {};
  return ::stat(xs_daemon_socket(), &facts) == 0 && S_ISSOCK(facts.st_mode);
}

void store_case::SetUp() {
  const c_memory<char> home(xs_get_domain_path(store_.get(), own_domid()));
  ASSERT_NE(home, nullptr);
  home_ = home.get();
  top_ = "data/xenpv-contract/" + std::to_string(::getpid());
  const auto made = store_.try_write(top_, "");
  ASSERT_EQ(made, succeeded) << "a guest must be able to write below " << home_
                             << "/data (created by the toolstack)";
}

void store_case::TearDown() {
  // Use a new connection, because the case may have broken its own connection on purpose.
  const store_session fresh;
  xs_rm(fresh.get(), XBT_NULL, top_.c_str());
}

void store_case::watch_fence(const store_session& session) {
  // Create the node now: creating it later would modify its parent, which an open transaction may
  // use.
  store_.write(node("fence"), "");
  session.watch(node("fence"), fence_token);
}

testing::AssertionResult store_case::nothing_before_fence(const store_session& session) {
  const store_event fence{node("fence"), fence_token};
  const store_session writer;
  writer.write(fence.path, "");
  const auto event = session.take_event();
  if (!event) return testing::AssertionFailure() << "no event for the fence";
  if (*event != fence) return testing::AssertionFailure() << "event before the fence: " << *event;
  return testing::AssertionSuccess();
}

}  // namespace xenpv::contract
