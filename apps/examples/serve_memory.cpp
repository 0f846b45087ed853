// serve_memory SOCKET: an NBD server for a custom block device, 16 MiB of memory. Works without
// Xen.
//
//   ./serve_memory /tmp/memory.sock
//   nbdinfo nbd+unix:///memory?socket=/tmp/memory.sock    # in another terminal
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>
#include <xenpv/base/standard_streams.hpp>
#include <xenpv/nbd/listen.hpp>
#include <xenpv/nbd/server.hpp>

namespace {

namespace asio = boost::asio;
namespace blk = xenpv::blk;

/// One queue on one thread. Each request completes in a later iteration of the event loop, as
/// submit() requires.
class memory_device final : public blk::block_device, public blk::block_queue {
 public:
  memory_device(asio::io_context& context, std::size_t size) : context_(context), bytes_(size) {
    shape_.size = size;
    shape_.can_flush = true;
    pages_ = std::make_shared<blk::page_pool>(page_memory_);
  }

  std::size_t queue_count() const noexcept override { return 1; }
  blk::block_queue& queue(std::size_t) noexcept override { return *this; }

  asio::any_io_executor get_executor() const override { return context_.get_executor(); }
  void commit() override {}
  void submit(blk::request& request) override {
    asio::post(context_, [this, &request] {
      request.status = {};
      const bool moves = request.op == blk::operation::read || request.op == blk::operation::write;
      if (request.offset > bytes_.size() || request.length > bytes_.size() - request.offset)
        request.status = std::make_error_code(std::errc::invalid_argument);
      else if (moves)
        copy(request, request.op == blk::operation::read);
      request.done(request);
    });
  }

 private:
  void copy(blk::request& request, bool is_read) {
    auto* const place = bytes_.data() + request.offset;
    if (request.pages != nullptr) {
      if (is_read)
        request.pages->copy_from(0, {place, request.length});
      else
        request.pages->copy_to(0, {place, request.length});
    } else if (is_read) {
      std::memcpy(request.memory, place, request.length);
    } else {
      std::memcpy(place, request.memory, request.length);
    }
  }

  asio::io_context& context_;
  std::vector<std::byte> bytes_;
  std::vector<std::byte> page_memory_ = std::vector<std::byte>(64 * xenpv::page_size);
};

asio::awaitable<void> stop_at_signal(xenpv::nbd::server& server, asio::signal_set& signals) {
  (void)co_await signals.async_wait(asio::use_awaitable);
  co_await server.stop();
}

}  // namespace

int main(int argc, char** argv) {
  xenpv::open_standard_streams();
  if (argc != 2) {
    std::fprintf(stderr, "usage: serve_memory SOCKET\n");
    return 2;
  }
  try {
    asio::io_context context(1);
    memory_device device(context, 16 << 20);
    asio::signal_set signals(context, SIGINT, SIGTERM);  // before "ready" is printed
    xenpv::nbd::server server(context.get_executor(), {});
    xenpv::nbd::export_options exported;
    exported.name = "memory";
    server.add_export(device, exported);
    server.listen(xenpv::nbd::listen_unix(argv[1]));
    std::printf("ready\n");
    std::fflush(stdout);
    asio::co_spawn(context, stop_at_signal(server, signals), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
    context.run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "serve_memory: %s\n", e.what());
    return 1;
  }
}
