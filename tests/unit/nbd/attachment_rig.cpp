#include "attachment_rig.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "bytes.hpp"
#include "fake_device.hpp"
#include "unit/blk/pool_memory.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd::test {
namespace {

constexpr std::size_t disk_size = std::size_t{2} << 20U;

std::string request(wire::nbd_command command, std::uint64_t offset, std::size_t length) {
  return be32(wire::nbd_request_magic) + be16(0) + be16(static_cast<std::uint16_t>(command)) +
         std::string("kernels!") + be64(offset) + be32(length);
}

void send_all(int socket, const std::string& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const auto count = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) throw_errno("send as the kernel");
    sent += static_cast<std::size_t>(count);
  }
}

std::string receive(int socket, std::size_t size) {
  std::string out(size, '\0');
  if (size > 0 && ::recv(socket, out.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size))
    throw std::runtime_error("the server closed the kernel's connection");
  return out;
}

void expect_success(int socket) {
  const auto reply = receive(socket, 16);
  if (reply != be32(wire::nbd_simple_reply_magic) + be32(0) + "kernels!")
    throw std::runtime_error("unexpected reply " + hex(reply));
}

}  // namespace

namespace {

std::mutex& disk_mutex() {
  static std::mutex one_for_all;
  return one_for_all;
}

}  // namespace

class memory_disk::memory_queue final : public blk::block_queue {
 public:
  memory_queue(asio::any_io_executor executor, std::vector<std::byte>& bytes)
      : executor_(std::move(executor)), bytes_(bytes) {
    pages_ = blk::test::make_pool(64);
    shape_.size = disk_size / 2;
    shape_.can_flush = true;
  }

  asio::any_io_executor get_executor() const override { return executor_; }
  void submit(blk::request& r) override {
    waiting_.push_back(&r);
    if (!stalls_) asio::post(executor_, [this] { answer(); });
  }
  void commit() override {}

  void stall(bool enable) {
    stalls_ = enable;
    if (!enable) answer();
  }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  void answer() {
    if (stalls_) return;
    for (auto* const r : std::exchange(waiting_, {})) {
      move_bytes(*r);
      r->done(*r);
    }
  }
  void move_bytes(blk::request& r) {
    // Queues on several threads share the disk, and ThreadSanitizer does not see that a client has
    // received the reply to one request before it sends the next.
    const std::lock_guard bytes_in_use(disk_mutex());
    auto* at = bytes_.data() + r.offset;
    const auto copy = [&](std::span<std::byte> part) {
      if (r.op == blk::operation::read) std::memcpy(part.data(), at, part.size());
      if (r.op == blk::operation::write) std::memcpy(at, part.data(), part.size());
      at += part.size();
    };
    if (r.pages != nullptr)
      r.pages->for_each_span(0, r.length, copy);
    else if (r.memory != nullptr)
      copy({r.memory, static_cast<std::size_t>(r.length)});
  }

  asio::any_io_executor executor_;
  std::vector<std::byte>& bytes_;
  bool stalls_ = false;
  std::vector<blk::request*> waiting_;
};

memory_disk::memory_disk(const std::vector<asio::any_io_executor>& executors) : bytes_(disk_size) {
  for (const auto& executor : executors)
    queues_.push_back(std::make_unique<memory_queue>(executor, bytes_));
}

memory_disk::~memory_disk() = default;

blk::block_queue& memory_disk::queue(std::size_t index) noexcept {
  return *queues_[index];
}

void memory_disk::stall(std::size_t index, bool enable) {
  queues_[index]->stall(enable);
}

std::size_t memory_disk::waiting(std::size_t index) const {
  return queues_[index]->waiting();
}

attachment_rig::attachment_rig(attachment_options options)
    : pool_(std::make_unique<async::cpu_pool>(two_cpus())) {
  const std::vector<asio::any_io_executor> executors = {pool_->executor(0), pool_->executor(1)};
  disk = std::make_unique<memory_disk>(executors);
  server = std::make_unique<nbd::server>(control(), server_options{});
  export_options exported;
  exported.name = "xvdb";
  server->add_export(*disk, exported);
  tree.with("/dev/nbd0", "a device");
  options.queues = 2;
  options.root = tree.root();
  attachment = std::make_unique<kernel_attachment>(control(), *server, kernel.driver(),
                                                   disk->queue(0).shape(), options);
}

attachment_rig::~attachment_rig() = default;

void attachment_rig::run(std::function<asio::awaitable<void>()> body) {
  std::exception_ptr error;
  asio::co_spawn(control_, async::shield_completion(live(std::move(body))),
                 [&](std::exception_ptr thrown) { error = std::move(thrown); });
  control_.run();
  pool_->stop();
  pool_->join();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> attachment_rig::live(std::function<asio::awaitable<void>()> body) {
  std::exception_ptr error;
  try {
    co_await body();
  } catch (...) {
    error = std::current_exception();
  }
  for (std::size_t i = 0; i < disk->queue_count(); ++i) {
    auto resume = [this, i] { disk->stall(i, false); };
    co_await on_queue(i, resume);
  }
  co_await server->stop();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<std::string> attachment_rig::read(std::size_t link, std::uint64_t offset,
                                                  std::uint32_t length) {
  const int socket = kernel.with(0, [&](auto& target) { return target.sockets.at(link).get(); });
  auto work = [=] {
    send_all(socket, request(wire::nbd_command::read, offset, length));
    expect_success(socket);
    return receive(socket, length);
  };
  auto out = co_await async::call_on(kernel_thread_.get_executor(), work);
  co_return out;
}

asio::awaitable<void> attachment_rig::write(std::size_t link, std::uint64_t offset,
                                            std::string bytes) {
  const int socket = kernel.with(0, [&](auto& target) { return target.sockets.at(link).get(); });
  auto work = [&] {
    send_all(socket, request(wire::nbd_command::write, offset, bytes.size()) + bytes);
    expect_success(socket);
  };
  co_await async::call_on(kernel_thread_.get_executor(), work);
}

void attachment_rig::send_read(std::size_t link) {
  const int socket = kernel.with(0, [&](auto& target) { return target.sockets.at(link).get(); });
  send_all(socket, request(wire::nbd_command::read, 0, 512));
}

asio::awaitable<void> attachment_rig::until(std::function<bool()> condition) {
  asio::steady_timer timer(control_);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > limit)
      throw std::runtime_error("the condition did not become true");
    timer.expires_after(std::chrono::milliseconds(1));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> attachment_rig::until_requested(std::string request) {
  co_await until([&] {
    const auto all = kernel.requests();
    return std::find(all.begin(), all.end(), request) != all.end();
  });
}

struct background::outcome {
  bool over = false;
  std::exception_ptr error;
  asio::cancellation_signal signal;
};

background::background(attachment_rig& rig, asio::awaitable<void> body)
    : rig_(rig), outcome_(std::make_shared<outcome>()) {
  const auto done = [result = outcome_](std::exception_ptr error) {
    result->error = std::move(error);
    result->over = true;
  };
  asio::co_spawn(rig.control(), async::shield_completion(std::move(body)),
                 asio::bind_cancellation_slot(outcome_->signal.slot(), done));
}

void background::cancel() {
  outcome_->signal.emit(asio::cancellation_type::terminal);
}

bool background::is_over() const {
  return outcome_->over;
}

asio::awaitable<void> background::wait() {
  co_await rig_.until([this] { return is_over(); });
  if (outcome_->error) std::rethrow_exception(std::exchange(outcome_->error, nullptr));
}

hanging_device::hanging_device(attachment_rig& rig, const std::string& path)
    : path_(rig.tree.root().path(path)) {
  std::filesystem::remove(path_);
  if (::mkfifo(path_.c_str(), 0600) != 0) throw_errno("make a FIFO");
}

hanging_device::~hanging_device() {
  unique_fd(::open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

bool hanging_device::is_being_opened() const {
  siginfo_t nobody;
  return ::waitid(P_ALL, 0, &nobody, WEXITED | WNOHANG | WNOWAIT) == 0;
}

}  // namespace xenpv::nbd::test
