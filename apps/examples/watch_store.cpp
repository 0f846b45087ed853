// watch_store PATH COUNT: prints COUNT changes of a xenstore node and of the nodes below it.
//
// xenstored sends the first event immediately, even if the node does not exist. To try it without
// Xen:
//   xenpv-sim run -- sh -c './watch_store data 2 & sleep 1; xenstore-write data/x 1; wait'
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <xenpv/async/runtime.hpp>
#include <xenpv/base/standard_streams.hpp>

namespace {

namespace asio = boost::asio;

asio::awaitable<void> print_changes(xenpv::async::runtime& runtime, std::string path, int count) {
  auto& store = runtime.store();
  auto watch = co_await store.watch(std::move(path));
  for (int i = 0; i < count; ++i) {
    const auto event = co_await watch.next();
    // An event does not contain the new value.
    const auto value = co_await store.read_if_exists(event.path);
    std::printf("%s%s%s\n", event.path.c_str(), value ? " = " : " does not exist",
                value ? value->c_str() : "");
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  xenpv::open_standard_streams();
  if (argc != 3) {
    std::fprintf(stderr, "usage: watch_store PATH COUNT\n");
    return 2;
  }
  try {
    xenpv::async::runtime runtime;
    runtime.run([&](auto& session) { return print_changes(session, argv[1], std::atoi(argv[2])); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "watch_store: %s\n", e.what());
    return 1;
  }
}
