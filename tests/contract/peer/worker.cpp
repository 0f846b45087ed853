#include "contract/peer/worker.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace xenpv::contract {

namespace {

void check(bool ok, const char* operation) {
  if (!ok) throw std::system_error(errno, std::generic_category(), operation);
}

[[nodiscard]] std::string decimal(std::uint32_t value) {
  return std::to_string(value);
}

}  // namespace

peer_worker::peer_worker(std::uint32_t guest) : guest_(guest) {}

const std::map<std::string, peer_worker::action>& peer_worker::actions() {
  static const std::map<std::string, action> table{
      {"hello", &peer_worker::hello},           {"bind", &peer_worker::bind},
      {"unbound", &peer_worker::unbound},       {"unbind", &peer_worker::unbind},
      {"notify", &peer_worker::notify},         {"take", &peer_worker::take},
      {"unmask", &peer_worker::unmask},         {"map", &peer_worker::map},
      {"map-notify", &peer_worker::map_notify}, {"unmap", &peer_worker::unmap},
      {"share", &peer_worker::share},           {"share-notify", &peer_worker::share_notify},
      {"unshare", &peer_worker::unshare},       {"read", &peer_worker::read},
      {"write", &peer_worker::write},           {"copy-from", &peer_worker::copy_from},
      {"copy-to", &peer_worker::copy_to}};
  return table;
}

void peer_worker::execute(const peer_command& command,
                          const std::function<void(const peer_reply&)>& publish) {
  if (command.words.front() == "exit") {
    publish({command.id, 0, {}});
    ::_exit(exit_requested);
  }
  peer_reply reply{command.id, 0, {}};
  try {
    const auto entry = actions().find(command.words.front());
    if (entry == actions().end()) throw std::system_error(ENOSYS, std::generic_category());
    reply.words = (this->*entry->second)(command.words);
  } catch (const std::system_error& error) {
    reply.error = error.code().value();
  } catch (const std::out_of_range&) {
    reply.error = ENOSYS;  // too few words, or an unknown ID
  }
  publish(reply);
}

/// hello -> ID of the worker's domain
peer_worker::words peer_worker::hello(const words&) {
  return {decimal(own_domid())};
}

/// bind PORT -> local port, connected to the guest's PORT
peer_worker::words peer_worker::bind(const words& command) {
  return {decimal(events_.bind_interdomain(guest_, parse_number(command.at(1))))};
}

/// unbound -> a port that the guest may bind
peer_worker::words peer_worker::unbound(const words&) {
  return {decimal(events_.bind_unbound(guest_))};
}

/// unbind PORT
peer_worker::words peer_worker::unbind(const words& command) {
  events_.unbind(parse_number(command.at(1)));
  return {};
}

/// notify PORT TIMES
peer_worker::words peer_worker::notify(const words& command) {
  const auto port = parse_number(command.at(1));
  for (auto left = parse_number(command.at(2)); left > 0; --left)
    events_.notify(port);
  return {};
}

/// take PORT MILLISECONDS -> 1 if an event on PORT arrived in time (PORT is then masked), else 0
peer_worker::words peer_worker::take(const words& command) {
  const auto expected = parse_number(command.at(1));
  const std::chrono::milliseconds timeout(parse_number(command.at(2)));
  if (const auto earlier = set_aside_.find(expected); earlier != set_aside_.end()) {
    set_aside_.erase(earlier);
    return {"1"};
  }
  while (const auto port = events_.take(timeout)) {
    if (*port == expected) return {"1"};
    set_aside_.insert(*port);
  }
  return {"0"};
}

/// unmask PORT
peer_worker::words peer_worker::unmask(const words& command) {
  events_.unmask(parse_number(command.at(1)));
  return {};
}

peer_worker::words peer_worker::remember(mapping entry) {
  mappings_.emplace(next_id_, entry);
  return {decimal(next_id_++)};
}

/// map ro|rw REF... -> ID
peer_worker::words peer_worker::map(const words& command) {
  std::vector<std::uint32_t> refs;
  for (std::size_t i = 2; i < command.size(); ++i)
    refs.push_back(parse_number(command[i]));
  const int protection = command.at(1) == "rw" ? PROT_READ | PROT_WRITE : PROT_READ;
  mapped_pages pages(mapper_, guest_, refs, protection);
  check(static_cast<bool>(pages), "xengnttab_map_domain_grant_refs");
  return remember({pages.release(), static_cast<std::uint32_t>(refs.size())});
}

/// map-notify REF OFFSET PORT -> ID; "-" for no offset or no port
peer_worker::words peer_worker::map_notify(const words& command) {
  const auto offset = command.at(2) == "-" ? no_offset : parse_number(command.at(2));
  const auto port = command.at(3) == "-" ? no_port : parse_number(command.at(3));
  void* memory = xengnttab_map_grant_ref_notify(mapper_.get(), guest_, parse_number(command.at(1)),
                                                PROT_READ | PROT_WRITE, offset, port);
  check(memory != nullptr, "xengnttab_map_grant_ref_notify");
  return remember({memory, 1});
}

/// unmap ID [COUNT]
peer_worker::words peer_worker::unmap(const words& command) {
  const auto entry = mappings_.find(parse_number(command.at(1)));
  if (entry == mappings_.end()) throw std::out_of_range("unmap");
  const auto count = command.size() > 2 ? parse_number(command[2]) : entry->second.count;
  check(xengnttab_unmap(mapper_.get(), entry->second.memory, count) == 0, "xengnttab_unmap");
  mappings_.erase(entry);
  return {};
}

/// share ro|rw COUNT -> ID REF...
peer_worker::words peer_worker::share(const words& command) {
  shared_pages pages(sharer_, guest_, parse_number(command.at(2)), command.at(1) == "rw");
  check(static_cast<bool>(pages), "xengntshr_share_pages");
  words reply{decimal(next_id_)};
  for (const auto ref : pages.refs())
    reply.push_back(decimal(ref));
  shares_.emplace(next_id_++, std::move(pages));
  return reply;
}

/// share-notify OFFSET PORT -> ID REF; "-" for no offset or no port
peer_worker::words peer_worker::share_notify(const words& command) {
  const auto offset = command.at(1) == "-" ? no_offset : parse_number(command.at(1));
  const auto port = command.at(2) == "-" ? no_port : parse_number(command.at(2));
  auto page = shared_pages::with_notice(sharer_, guest_, offset, port);
  check(static_cast<bool>(page), "xengntshr_share_page_notify");
  words reply{decimal(next_id_), decimal(page.refs().at(0))};
  shares_.emplace(next_id_++, std::move(page));
  return reply;
}

/// unshare ID
peer_worker::words peer_worker::unshare(const words& command) {
  auto& pages = shares_.at(parse_number(command.at(1)));
  const auto result = pages.unshare();
  shares_.erase(parse_number(command.at(1)));
  if (!result.ok) throw std::system_error(result.error, std::generic_category());
  return {};
}

unsigned char* peer_worker::place(const std::string& id, const std::string& offset,
                                  std::size_t length) const {
  const auto number = parse_number(id);
  const auto start = parse_number(offset);
  std::span<unsigned char> bytes;
  if (const auto shared = shares_.find(number); shared != shares_.end()) {
    bytes = shared->second.bytes();
  } else {
    const auto& entry = mappings_.at(number);
    bytes = {static_cast<unsigned char*>(entry.memory), entry.count * page_size};
  }
  if (start > bytes.size() || length > bytes.size() - start) throw std::out_of_range("place");
  return bytes.data() + start;
}

/// read ID OFFSET LENGTH -> HEX
peer_worker::words peer_worker::read(const words& command) {
  std::string bytes(parse_number(command.at(3)), '\0');
  std::memcpy(bytes.data(), place(command[1], command[2], bytes.size()), bytes.size());
  return {to_hex(bytes)};
}

/// write ID OFFSET HEX
peer_worker::words peer_worker::write(const words& command) {
  const auto bytes = from_hex(command.at(3));
  std::memcpy(place(command[1], command[2], bytes.size()), bytes.data(), bytes.size());
  return {};
}

peer_worker::words peer_worker::copy(xengnttab_grant_copy_segment_t& segment) {
  check(xengnttab_grant_copy(mapper_.get(), 1, &segment) == 0, "xengnttab_grant_copy");
  return {segment.status == GNTST_okay ? "okay" : "refused"};
}

/// copy-from REF OFFSET LENGTH -> okay|refused HEX
peer_worker::words peer_worker::copy_from(const words& command) {
  std::string bytes(parse_number(command.at(3)), '\0');
  xengnttab_grant_copy_segment_t segment{};
  segment.source.foreign.ref = parse_number(command[1]);
  segment.source.foreign.offset = static_cast<std::uint16_t>(parse_number(command[2]));
  segment.source.foreign.domid = static_cast<std::uint16_t>(guest_);
  segment.dest.virt = bytes.data();
  segment.len = static_cast<std::uint16_t>(bytes.size());
  segment.flags = GNTCOPY_source_gref;
  auto reply = copy(segment);
  reply.push_back(to_hex(bytes));
  return reply;
}

/// copy-to REF OFFSET HEX -> okay|refused
peer_worker::words peer_worker::copy_to(const words& command) {
  auto bytes = from_hex(command.at(3));
  xengnttab_grant_copy_segment_t segment{};
  segment.source.virt = bytes.data();
  segment.dest.foreign.ref = parse_number(command[1]);
  segment.dest.foreign.offset = static_cast<std::uint16_t>(parse_number(command[2]));
  segment.dest.foreign.domid = static_cast<std::uint16_t>(guest_);
  segment.len = static_cast<std::uint16_t>(bytes.size());
  segment.flags = GNTCOPY_dest_gref;
  return copy(segment);
}

}  // namespace xenpv::contract
