#include "server_query.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/parse.hpp"
#include "base/utf8.hpp"
#include "claim.hpp"
#include "control_socket.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::disk_app {
namespace {

using std::chrono::steady_clock;

/// Time limit for all servers together. A server answers from a thread that never waits for long.
constexpr std::chrono::seconds answer_limit(5);

/// Reads the process from the lock file of the disk's server. 0 if it does not contain one.
pid_t owner_of_lock(const std::string& disk) {
  std::ifstream file(fmt::format("{}/{}.lock", runtime_directory(), disk));
  std::string text;
  std::getline(file, text);
  return parse_whole<pid_t>(text).value_or(0);
}

/// One request to a server.
class query {
 public:
  query(const std::filesystem::path& socket, const cli::json& request) {
    connect(socket.string());
    send(request.dump() + "\n");
  }

  [[nodiscard]] const std::string& disk() const noexcept { return disk_; }
  /// False if no server listens on the socket.
  [[nodiscard]] bool is_present() const noexcept { return socket_ || !why_.empty(); }
  /// The socket, to wait for data; -1 if no more data is expected.
  [[nodiscard]] int waits_for() const noexcept { return socket_.get(); }

  /// Reads without waiting.
  void receive() {
    char bytes[16384];
    for (;;) {
      const auto count = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (count <= 0) break;
      text_.append(bytes, static_cast<std::size_t>(count));
    }
    socket_.reset();
    if (text_.empty()) why_ = "it is still connecting the disk, or it is stopping; try again";
  }

  /// The answer, if it is complete.
  [[nodiscard]] std::optional<cli::json> answer() const {
    if (socket_ || text_.empty()) return std::nullopt;
    auto out = cli::json::parse(text_, nullptr, false);
    return out.is_object() ? std::optional(std::move(out)) : std::nullopt;
  }

  [[nodiscard]] silent_server silence() const {
    silent_server out{disk_, process_ != 0 ? process_ : owner_of_lock(disk_), why_};
    if (socket_) out.why = "it does not answer; it may be stopped or hang";
    if (out.why.empty()) out.why = "its answer is not a report; is it another version?";
    return out;
  }

 private:
  /// The request fits into the socket buffer of a new connection.
  void send(const std::string& text) {
    if (socket_) (void)::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }

  void connect(const std::string& path) {
    disk_ = std::filesystem::path(path).stem().string();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return;
    std::memcpy(address.sun_path, path.data(), path.size());
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_) throw_errno("query a server");
    if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
        0) {
      ucred peer{};
      socklen_t size = sizeof peer;
      if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        process_ = peer.pid;
      return;
    }
    const int problem = errno;
    socket_.reset();
    // A killed server leaves its socket behind.
    if (problem == ECONNREFUSED || problem == ENOENT) return;
    why_ = problem == EAGAIN ? "it does not answer: earlier queries wait, too"
                             : fmt::format("cannot connect: {}", describe_errno(problem));
  }

  std::string disk_;
  unique_fd socket_;
  pid_t process_ = 0;
  std::string text_;
  std::string why_;
};

void receive_all(std::vector<query>& queries) {
  const auto deadline = steady_clock::now() + answer_limit;
  for (;;) {
    std::vector<pollfd> waiting;
    waiting.reserve(queries.size());
    for (const auto& query : queries)
      waiting.push_back({query.waits_for(), POLLIN, 0});  // poll(2) ignores -1
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
    const bool is_complete =
        std::ranges::all_of(waiting, [](const pollfd& entry) { return entry.fd < 0; });
    if (is_complete || left <= 0) return;
    if (::poll(waiting.data(), waiting.size(), static_cast<int>(left)) <= 0) continue;
    for (std::size_t i = 0; i < queries.size(); ++i)
      if (waiting[i].revents != 0) queries[i].receive();
  }
}

std::vector<std::filesystem::path> control_sockets() {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory()))
    if (entry.path().extension() == ".control") out.push_back(entry.path());
  std::ranges::sort(out);
  return out;
}

/// Whether a server answered with a report. The answer is checked because a server may be
/// compromised, or of another version.
bool is_report(const cli::json& answer) {
  const auto has = [](const cli::json& object, const char* key, auto is_valid) {
    const auto value = object.find(key);
    return value != object.end() && is_valid(*value);
  };
  const auto is_string = [](const cli::json& value) { return value.is_string(); };
  const auto has_path = [&](const cli::json& device) {
    return device.is_object() && has(device, "path", is_string);
  };
  const auto is_server = [&](const cli::json& server) {
    return server.is_object() && (!server.contains("name") || has(server, "name", is_string)) &&
           (!server.contains("clients") || server.at("clients").is_array());
  };
  return has(answer, "name", is_string) && has(answer, "device", has_path) &&
         has(answer, "server", is_server);
}

/// Throws the reason why there is no report of `disk`.
[[noreturn]] void throw_absence(const std::string& disk, const server_answers& answers) {
  const auto action = fmt::format("query the server of {}", disk);
  if (answers.silent.empty())
    throw failure(make_error_code(errc::not_available), action,
                  "no process serves it; start a server with xenpv-disk serve");
  std::string servers;
  for (const auto& server : answers.silent)
    servers += (servers.empty() ? "" : "; ") + describe(server);
  throw failure(make_error_code(errc::timed_out), action, servers);
}

/// Moves the statistics of servers out of the reports of their disks. Reports from servers of other
/// versions may lack values.
std::vector<cli::json> take_servers(std::vector<cli::json>& reports) {
  std::vector<cli::json> out;
  for (auto& report : reports) {
    auto server = report.at("server");
    const auto disk = report.at("name").get<std::string>();
    const auto name = server.value("name", disk);
    auto clients = server.value("clients", cli::json::array());
    report["server"] = {{"name", name}, {"clients", clients}};
    if (std::ranges::any_of(out, [&](const cli::json& other) { return other.at("name") == name; }))
      continue;
    cli::json entry{{"name", name}, {"disks", cli::json::array({disk})}};
    for (const auto* const key : {"pid", "version", "start_time"})
      if (const auto value = report.find(key); value != report.end()) entry[key] = *value;
    entry["clients"] = server.value("connected", clients.size());
    server.erase("clients");
    server.erase("connected");
    entry.update(server);
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace

std::string describe(const silent_server& server) {
  return server.process == 0 ? fmt::format("the server of {}: {}", server.disk, server.why)
                             : fmt::format("process {}, which serves {}: {}", server.process,
                                           server.disk, server.why);
}

bool names_disk(const cli::json& report, std::string_view name) {
  const auto guest_name = report.at("name").get<std::string>();
  const auto path = report.at("device").at("path").get<std::string>();
  return name == guest_name || name == "/dev/" + guest_name || name == path ||
         name == path.substr(path.rfind('/') + 1) ||
         name == report.value("toolstack_name", guest_name);
}

server_answers ask_servers(const std::string& disk) {
  auto paths = control_sockets();
  // Usually the socket is named after `disk`, and no other server needs to be queried.
  const std::filesystem::path expected(control_path(disk));
  if (!disk.empty() && std::ranges::count(paths, expected) > 0) paths = {expected};
  std::vector<query> queries;
  for (const auto& path : paths)
    if (query next(path, {{"command", "status"}}); next.is_present())
      queries.push_back(std::move(next));
  receive_all(queries);
  server_answers out;
  for (const auto& query : queries) {
    if (auto report = query.answer(); !report || !is_report(*report))
      out.silent.push_back(query.silence());
    else if (disk.empty() || names_disk(*report, disk))
      out.reports.push_back(std::move(*report));
  }
  out.servers = take_servers(out.reports);
  if (disk.empty()) return out;
  if (out.reports.empty()) throw_absence(disk, out);
  out.silent.clear();
  return out;
}

void command_server(const std::string& disk, const cli::json& request) {
  const auto answers = ask_servers(disk);
  const auto name = answers.reports.front().at("name").get<std::string>();
  const auto action = fmt::format("{} {}", request.at("command").get<std::string>(), name);
  std::vector<query> queries;
  queries.emplace_back(control_path(name), request);
  receive_all(queries);
  const auto answer = queries.front().answer();
  if (!answer)
    throw failure(make_error_code(errc::timed_out), action, describe(queries.front().silence()));
  const auto problem = answer->find("error");
  if (problem != answer->end() && problem->is_string())
    throw failure(
        error{std::make_error_code(std::errc::operation_not_permitted),
              fmt::format("{}: {}", action, printable(problem->get<std::string>(), 1000))});
  // A server of an earlier version answers every request with its report.
  if (answer->contains("device"))
    throw failure(make_error_code(errc::not_available), action,
                  "the server is an earlier version, which does not know the command");
}

}  // namespace xenpv::disk_app
