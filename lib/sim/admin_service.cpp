#include "sim/admin_service.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/shell_quote.hpp"
#include "sim/listen.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

using nlohmann::json;

constexpr std::size_t line_max = std::size_t{64} * 1024;

void send_line(int fd, std::string text) {
  text += '\n';
  // Replies fit into the socket buffer. The send does not block, so a client that does not read
  // loses its reply.
  [[maybe_unused]] const auto sent =
      ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

domid domain_of(const json& request) {
  return domid{request.at("domid").get<std::uint16_t>()};
}

/// Called with the result of a command.
using reply_function = std::function<void(json)>;

/// The reply contains the problem, or an empty text.
external_backends::done_function report_problem(reply_function reply) {
  return [reply = std::move(reply)](const std::string& problem) { reply({{"problem", problem}}); };
}

json execute(host& simulated_host, const std::string& command, const json& request) {
  if (command == "status") return json::parse(simulated_host.status());
  if (command == "stop") {
    simulated_host.stop();
    return json::object();
  }
  if (command == "create") {
    std::optional<domid> number;
    if (request.contains("domid")) number = domain_of(request);
    return {{"domid", raw(simulated_host.create_domain(number))}};
  }
  if (command == "destroy") {
    simulated_host.destroy_domain(domain_of(request));
    return json::object();
  }
  if (command == "find") {
    const auto domain = simulated_host.find_domain(request.at("domain").get<std::string>());
    return {{"domid", raw(domain.number)}, {"name", domain.name}, {"directory", domain.directory}};
  }
  if (command == "virq") {
    simulated_host.raise_virq(domain_of(request), request.at("virq").get<std::uint32_t>());
    return json::object();
  }
  if (command == "fault") {
    auto switches = simulated_host.faults();
    for (const auto& spec : request.at("specs"))
      parse_fault(spec.get<std::string>(), switches).value();
    simulated_host.set_faults(switches);
    return json::object();
  }
  throw failure(errc::invalid_argument, fmt::format("command '{}'", command));
}

void execute(host& simulated_host, const json& request, reply_function reply) {
  const auto command = request.at("command").get<std::string>();
  const std::chrono::milliseconds frozen(request.value("frozen_ms", 0));
  if (command == "save-restore")
    simulated_host.save_restore(domain_of(request), request.value("keep", false), frozen,
                                request.value("storage_moved", false),
                                [reply = std::move(reply)](domid new_number) {
                                  reply({{"domid", raw(new_number)}});
                                });
  else if (command == "checkpoint")
    simulated_host.checkpoint(domain_of(request), frozen,
                              [reply = std::move(reply)] { reply(json::object()); });
  else if (command == "await-backends")
    simulated_host.await_backends(report_problem(std::move(reply)));
  else if (command == "restart-backend")
    simulated_host.restart_backend(domain_of(request), request.at("device").get<std::uint32_t>(),
                                   report_problem(std::move(reply)));
  else
    reply(execute(simulated_host, command, request));
}

}  // namespace

host::admin_service::admin_service(host& owner, reactor& loop, const std::filesystem::path& path)
    : host_(owner), reactor_(loop), listener_(listen_at(path, SOCK_STREAM | SOCK_NONBLOCK)) {
  reactor_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept(); });
}

host::admin_service::~admin_service() {
  for (const auto& entry : clients_)
    reactor_.remove(entry.first);
  reactor_.remove(listener_.get());
}

void host::admin_service::accept() {
  auto socket = accept_permitted(listener_.get(), SOCK_NONBLOCK);
  if (!socket) return;
  const int fd = socket.get();
  clients_[fd] = std::make_shared<client>(client{std::move(socket), {}});
  reactor_.add(fd, EPOLLIN, [this, fd](std::uint32_t) { readable(fd); });
}

void host::admin_service::readable(int fd) {
  const auto peer = clients_.at(fd);
  std::array<char, 4096> bytes{};
  const auto got = ::read(fd, bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) peer->line.append(bytes.data(), static_cast<std::size_t>(got));
  for (auto end = peer->line.find('\n'); end != std::string::npos; end = peer->line.find('\n')) {
    serve(peer, peer->line.substr(0, end));
    peer->line.erase(0, end + 1);
  }
  if (got > 0 && peer->line.size() <= line_max) return;
  reactor_.remove(fd);
  clients_.erase(fd);
}

void host::admin_service::serve(const std::shared_ptr<client>& peer, const std::string& line) {
  // The client may have disconnected before the reply.
  auto reply = [weak = std::weak_ptr(peer)](json out) {
    const auto still_connected = weak.lock();
    if (!still_connected) return;
    out["ok"] = true;
    send_line(still_connected->socket.get(), out.dump());
  };
  try {
    execute(host_, json::parse(line), reply);
  } catch (const std::exception& problem) {
    // Report the error to the client and keep the host running.
    send_line(peer->socket.get(), json{{"ok", false}, {"error", problem.what()}}.dump());
  }
}

namespace {

unique_fd connect_to_host(const std::filesystem::path& directory) {
  try {
    return connect_to(directory / "admin", SOCK_STREAM);
  } catch (const failure& problem) {
    const bool is_refused = problem.code() == std::errc::permission_denied;
    throw failure(problem.code(), fmt::format("simulated host in {}", directory.string()),
                  is_refused
                      ? "only its owner and root may use it"
                      : fmt::format("is it running? `xenpv-sim start --dir {}` starts a host",
                                    shell_quote(directory.string())));
  }
}

/// Reads until `is_complete` returns true or the host closes the connection.
template <class Predicate>
std::string read_until(int fd, Predicate is_complete) {
  std::string text;
  std::array<char, 4096> bytes{};
  while (!is_complete(text)) {
    const auto got = ::read(fd, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

std::string ask_host(const std::filesystem::path& directory, const std::string& request) {
  const auto socket = connect_to_host(directory);
  send_line(socket.get(), request);
  auto text = read_until(socket.get(), [](const std::string& t) { return t.ends_with('\n'); });
  if (!text.ends_with('\n'))
    throw failure(errc::lost_connection, fmt::format("simulated host in {}", directory.string()));
  const auto answer = json::parse(text);
  if (!answer.at("ok").get<bool>())
    throw failure(
        error{make_error_code(errc::invalid_argument), answer.at("error").get<std::string>()});
  return text;
}

domain_identity find_domain(const std::filesystem::path& directory, const std::string& name_or_id) {
  const json request{{"command", "find"}, {"domain", name_or_id}};
  const auto reply = json::parse(ask_host(directory, request.dump()));
  return {domain_of(reply), reply.at("name").get<std::string>(),
          reply.at("directory").get<std::string>()};
}

std::filesystem::path ask_domain_directory(const std::filesystem::path& directory, domid domain) {
  return find_domain(directory, fmt::format("{}", domain)).directory;
}

bool is_running(const std::filesystem::path& directory) {
  try {
    const auto socket = connect_to(directory / "admin", SOCK_STREAM);
    return true;
  } catch (const failure&) {
    return false;
  }
}

namespace {

/// Throws `failure` if the reply contains a problem.
void ask_without_problem(const std::filesystem::path& directory, const json& request) {
  const auto reply = json::parse(ask_host(directory, request.dump()));
  const auto problem = reply.at("problem").get<std::string>();
  if (!problem.empty()) throw failure(error{make_error_code(errc::lost_connection), problem});
}

}  // namespace

void await_backends(const std::filesystem::path& directory) {
  ask_without_problem(directory, {{"command", "await-backends"}});
}

void restart_backend(const std::filesystem::path& directory, domid domain, std::uint32_t device) {
  ask_without_problem(directory,
                      {{"command", "restart-backend"}, {"domid", raw(domain)}, {"device", device}});
}

void stop_host(const std::filesystem::path& directory) {
  const auto socket = connect_to_host(directory);
  send_line(socket.get(), R"({"command":"stop"})");
  (void)read_until(socket.get(), [](const std::string&) { return false; });
}

}  // namespace xenpv::sim
