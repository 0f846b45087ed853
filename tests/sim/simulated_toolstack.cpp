#include "sim/simulated_toolstack.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string_view>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {
namespace {

constexpr std::chrono::seconds time_limit(10);

std::string host_directory() {
  return std::filesystem::path(std::getenv("XENPV_SIM_DIR")).parent_path().string();
}

xen::store open_store_of_domain_0() {
  const std::string own = std::getenv("XENSTORED_PATH");
  ::setenv("XENSTORED_PATH", (host_directory() + "/dom0/xenstored").c_str(), 1);
  auto store = xen::store::open();
  ::setenv("XENSTORED_PATH", own.c_str(), 1);
  return store;
}

/// Returns true if the backend, not the toolstack, writes this node.
bool is_published(std::string_view name) {
  constexpr std::array<std::string_view, 8> own = {
      "state", "sectors", "info", "sector-size", "max-", "multi-queue-", "discard-", "physical-"};
  for (const auto prefix : own)
    if (name.starts_with(prefix)) return true;
  return name.starts_with("feature-") || name == "xenpv/command" ||
         name.starts_with("xenpv/applied-") || name.starts_with("hotplug");
}

}  // namespace

simulated_toolstack::simulated_toolstack()
    : host_(host_directory()), store_(open_store_of_domain_0()) {
  domain_ = static_cast<unsigned>(std::stoul(xen::store::open().read("domid")));
}

std::string simulated_toolstack::frontend(unsigned disk) const {
  return fmt::format("/local/domain/{}/device/vbd/{}", domain_, disk);
}

std::string simulated_toolstack::backend(unsigned disk) const {
  const auto known = external_.find(disk);
  const auto* const type = known != external_.end() && known->second ? "qdisk" : "vbd";
  return fmt::format("/local/domain/0/backend/{}/{}/{}", type, domain_, disk);
}

bool simulated_toolstack::is_external(unsigned disk) {
  const auto known = external_.find(disk);
  if (known != external_.end()) return known->second;
  const auto path = store_.read_if_exists(frontend(disk) + "/backend").value_or("");
  const auto name = store_.read_if_exists(path + "/xenpv/backend").value_or("");
  return external_[disk] = name == "qemu-real";
}

std::optional<std::string> simulated_toolstack::read(unsigned disk, const std::string& node) {
  (void)is_external(disk);
  return store_.read_if_exists(backend(disk) + "/" + node);
}

std::optional<std::string> simulated_toolstack::frontend_state(unsigned disk) {
  return store_.read_if_exists(frontend(disk) + "/state");
}

void simulated_toolstack::write(unsigned disk, const std::string& node, const std::string& value) {
  store_.write(backend(disk) + "/" + node, value);
}

void simulated_toolstack::await(unsigned disk, const std::string& node,
                                const std::optional<std::string>& value) {
  const auto until = std::chrono::steady_clock::now() + time_limit;
  while (read(disk, node) != value) {
    if (std::chrono::steady_clock::now() > until)
      throw std::runtime_error(fmt::format("disk {}: {} is {}, not {}", disk, node,
                                           read(disk, node).value_or("absent"),
                                           value.value_or("absent")));
    ::poll(nullptr, 0, 1);
  }
}

void simulated_toolstack::restart(unsigned disk) {
  if (is_external(disk)) {
    const auto answer = ask({{"command", "restart-backend"}, {"domid", domain_}, {"device", disk}});
    const auto problem = answer.at("problem").get<std::string>();
    if (!problem.empty()) throw std::runtime_error(problem);
    return;
  }
  write(disk, "xenpv/command", "restart");
  await(disk, "xenpv/command", std::nullopt);
}

void simulated_toolstack::cut_power(unsigned disk, unsigned seed) {
  write(disk, "xenpv/command", fmt::format("power-cut {}", seed));
  await(disk, "xenpv/command", std::nullopt);
}

void simulated_toolstack::begin_closing(unsigned disk) {
  (void)is_external(disk);
  const auto node = backend(disk) + "/state";
  store_.transact([&](xen::store_transaction& t) {
    if (t.read_if_exists(node) == "4") t.write(node, "5");
  });
}

void simulated_toolstack::set_faults(unsigned disk, const std::string& faults) {
  // A starting backend applies xenpv/fault without confirming it, so wait until it has started.
  const auto until = std::chrono::steady_clock::now() + time_limit;
  for (auto state = read(disk, "state"); state != "2" && state != "4";
       state = read(disk, "state")) {
    if (std::chrono::steady_clock::now() > until)
      throw std::runtime_error(fmt::format("disk {}: the backend is not ready", disk));
    ::poll(nullptr, 0, 1);
  }
  write(disk, "xenpv/fault", faults);
  await(disk, "xenpv/applied-fault", faults);
}

void simulated_toolstack::resize(unsigned disk, std::uint64_t bytes) {
  const auto text = fmt::format("{}", bytes);
  write(disk, "xenpv/size", text);
  await(disk, "xenpv/applied-size", text);
}

void simulated_toolstack::save_nodes(const std::string& path, const std::string& prefix) {
  for (const auto& name : store_.list(path)) {
    if (is_published(prefix + name)) continue;
    const auto child = path + "/" + name;
    saved_[prefix + name] = store_.read(child);
    const auto below = store_.list_if_exists(child);
    if (below && !below->empty()) save_nodes(child, prefix + name + "/");
  }
}

void simulated_toolstack::remove_backend(unsigned disk) {
  saved_.clear();
  save_nodes(backend(disk), "");
  (void)store_.remove(backend(disk));
}

void simulated_toolstack::rebuild_backend(unsigned disk,
                                          const std::map<std::string, std::string>& changed) {
  for (const auto& [name, value] : changed)
    saved_[name] = value;
  const auto top = backend(disk);
  const auto guest = domid(static_cast<std::uint16_t>(domain_));
  const std::vector<xen::store_permission> permissions = {{domid_0, false, false},
                                                          {guest, true, false}};
  store_.transact([&](xen::store_transaction& t) {
    // As libxl does: a backend that missed the removal may have written nodes to the directory.
    (void)t.remove(top);
    t.write(top, "");
    t.set_permissions(top, permissions);
    for (const auto& [name, value] : saved_)
      t.write(top + "/" + name, value);
    t.write(top + "/state", "1");
  });
}

void simulated_toolstack::remove_device(unsigned disk) {
  store_.transact([&](xen::store_transaction& t) {
    (void)t.remove(frontend(disk));
    (void)t.remove(backend(disk));
  });
}

nlohmann::json simulated_toolstack::ask(const nlohmann::json& request) const {
  const unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto path = host_ + "/admin";
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw_errno("connect to " + path);
  const auto line = request.dump() + "\n";
  if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) throw_errno("ask the host");
  std::string text;
  std::array<char, 4096> bytes{};
  while (!text.ends_with('\n')) {
    const auto got = ::read(socket.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw std::runtime_error("the host closed the connection");
    text.append(bytes.data(), static_cast<std::size_t>(got));
  }
  auto answer = nlohmann::json::parse(text);
  if (!answer.at("ok").get<bool>()) throw std::runtime_error(answer.at("error").get<std::string>());
  return answer;
}

void simulated_toolstack::save_restore(bool same_number, std::chrono::milliseconds frozen,
                                       bool storage_moved) {
  const auto answer = ask({{"command", "save-restore"},
                           {"domid", domain_},
                           {"keep", same_number},
                           {"storage_moved", storage_moved},
                           {"frozen_ms", frozen.count()}});
  domain_ = answer.at("domid").get<unsigned>();
}

void simulated_toolstack::checkpoint(std::chrono::milliseconds frozen) {
  (void)ask({{"command", "checkpoint"}, {"domid", domain_}, {"frozen_ms", frozen.count()}});
}

nlohmann::json simulated_toolstack::status() {
  return ask({{"command", "status"}});
}

nlohmann::json simulated_toolstack::own_status() {
  const auto all = status();
  for (const auto& domain : all.at("domains"))
    if (domain.at("domid") == domain_) return domain;
  return nullptr;
}

}  // namespace xenpv::sim
