// A process in a simulated domain. Reads one command per line from stdin and replies to each with
// one line: "ok ..." or "error ...". Uses the library as an application would.
#include <poll.h>

#include <csignal>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/grant_map.hpp"
#include "xenpv/xen/grant_share.hpp"
#include "xenpv/xen/store.hpp"

namespace {

using namespace xenpv;

/// Reads the arguments of a command.
class operands {
 public:
  explicit operands(std::istringstream& line) : line_(line) {}
  std::string text() {
    std::string value;
    line_ >> value;
    return value;
  }
  template <class Number>
  Number number() {
    std::uint64_t value = 0;
    line_ >> value;
    return static_cast<Number>(value);
  }

 private:
  std::istringstream& line_;
};

template <class Number>
std::string format_number(Number value) {
  return " " + std::to_string(raw(value));
}

class event_actor {
 public:
  std::string start_custodian() {
    custodian_.emplace(xen::custodian::start());
    return " " + std::to_string(custodian_->process());
  }
  std::string custodian_process() { return " " + std::to_string(custodian_->process()); }
  std::string set_cleanup(operands args) {
    const auto path = args.text();
    custodian_->set_cleanup("actor", {xen::cleanup_write{path, args.text()}});
    return "";
  }
  std::string resumed() {
    custodian_->resumed();
    handles_.clear();
    return "";
  }
  std::string open() {
    held_handle fresh{xen::event_channel_handle::open(), std::nullopt};
    if (custodian_) fresh.kept = custodian_->keep(fresh.handle.descriptor());
    handles_.push_back(std::move(fresh));
    return "";
  }
  std::string close() {
    const auto kept = handles_.back().kept;
    handles_.pop_back();
    if (kept) custodian_->release(*kept);
    return "";
  }
  std::string pending(operands args) {
    pollfd ready{handle().descriptor(), POLLIN, 0};
    if (::poll(&ready, 1, args.number<int>()) != 1) return " none";
    return format_number(*handle().pending());
  }
  xen::event_channel_handle& handle() {
    if (handles_.empty()) throw failure(errc::invalid_argument, "use a handle before open");
    return handles_.back().handle;
  }

 private:
  struct held_handle {
    xen::event_channel_handle handle;
    std::optional<xen::custodian::kept_id> kept;
  };
  std::optional<xen::custodian> custodian_;  // outlives the handles that it keeps
  std::vector<held_handle> handles_;
};

class grant_actor {
 public:
  std::string share(operands args) {
    const auto peer = args.number<domid>();
    shared_ = xen::grant_sharer::open().share(peer, args.number<std::size_t>(), true);
    return format_number(shared_.refs()[0]);
  }
  std::string unshare() {
    shared_ = {};
    return "";
  }
  std::string map(operands args) {
    const auto peer = args.number<domid>();
    const auto ref = args.number<grant_ref>();
    mapped_ = xen::grant_mapper::open().map(peer, std::span(&ref, 1), xen::map_access::read_write);
    return "";
  }
  std::string unmap() {
    mapped_ = {};
    return "";
  }
  std::string poke_shared(operands args) {
    shared_.bytes()[0] = static_cast<std::byte>(args.number<unsigned char>());
    return "";
  }
  std::string peek_mapped() {
    return " " + std::to_string(std::to_integer<int>(mapped_.bytes()[0]));
  }

 private:
  xen::granted_pages shared_;
  xen::mapped_grants mapped_;
};

class store_actor {
 public:
  static std::string write(operands args) {
    const auto path = args.text();
    xen::store::open().write(path, args.text());
    return "";
  }
  static std::string read(operands args) {
    const auto value = xen::store::open().read_if_exists(args.text());
    return value ? " " + *value : " absent";
  }
  std::string keep() {
    store_.emplace(xen::store::open());
    return "";
  }
  std::string watch(operands args) {
    store_->watch(args.text(), "actor");
    return "";
  }
  std::string event(operands args) {
    pollfd ready{store_->watch_descriptor(), POLLIN, 0};
    if (::poll(&ready, 1, args.number<int>()) != 1) return " none";
    const auto event = store_->next_event();
    return event ? " " + event->path : " none";
  }
  std::string connected() { return store_->is_connected() ? " yes" : " no"; }
  /// Replies with the number of times that the transaction body ran.
  std::string transact(operands args) {
    int runs = 0;
    store_->transact(
        [&](xen::store_transaction& t) {
          ++runs;
          t.write("data/transacted", "1");
        },
        args.number<unsigned>());
    return " " + std::to_string(runs);
  }

 private:
  std::optional<xen::store> store_;
};

event_actor events;
grant_actor grants;
store_actor store;

const std::map<std::string, std::function<std::string(operands)>> commands = {
    {"custodian", [](auto) { return events.start_custodian(); }},
    {"custodian_process", [](auto) { return events.custodian_process(); }},
    {"cleanup", [](auto w) { return events.set_cleanup(w); }},
    {"resumed", [](auto) { return events.resumed(); }},
    {"open", [](auto) { return events.open(); }},
    {"close", [](auto) { return events.close(); }},
    {"pending", [](auto w) { return events.pending(w); }},
    {"bind_unbound",
     [](auto w) {
       return format_number(events.handle().bind_unbound(w.template number<domid>()));
     }},
    {"bind_interdomain",
     [](auto w) {
       const auto remote = w.template number<domid>();
       return format_number(events.handle().bind_interdomain(remote, w.template number<port>()));
     }},
    {"unbind",
     [](auto w) {
       events.handle().unbind(w.template number<port>());
       return std::string();
     }},
    {"notify",
     [](auto w) {
       events.handle().notify(w.template number<port>());
       return std::string();
     }},
    {"unmask",
     [](auto w) {
       events.handle().unmask(w.template number<port>());
       return std::string();
     }},
    {"share", [](auto w) { return grants.share(w); }},
    {"unshare", [](auto) { return grants.unshare(); }},
    {"map", [](auto w) { return grants.map(w); }},
    {"unmap", [](auto) { return grants.unmap(); }},
    {"poke_shared", [](auto w) { return grants.poke_shared(w); }},
    {"peek_mapped", [](auto) { return grants.peek_mapped(); }},
    {"store_write", [](auto w) { return store_actor::write(w); }},
    {"store_read", [](auto w) { return store_actor::read(w); }},
    {"store_keep", [](auto) { return store.keep(); }},
    {"store_watch", [](auto w) { return store.watch(w); }},
    {"store_event", [](auto w) { return store.event(w); }},
    {"store_connected", [](auto) { return store.connected(); }},
    {"transact", [](auto w) { return store.transact(w); }},
};

std::string execute(const std::string& line) {
  std::istringstream args(line);
  std::string name;
  args >> name;
  const auto command = commands.find(name);
  if (command == commands.end()) return "error no command " + name;
  try {
    return "ok" + command->second(operands(args));
  } catch (const std::exception& problem) {
    return std::string("error ") + problem.what();
  }
}

}  // namespace

int main() {
  std::signal(SIGPIPE, SIG_IGN);
  for (std::string line; std::getline(std::cin, line) && line != "exit";)
    std::cout << execute(line) << std::endl;
  return 0;
}
