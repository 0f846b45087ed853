#include "fake_kernel.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "bytes.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd::test {
namespace {

constexpr std::uint16_t family = 0x1c;
constexpr std::uint32_t group = 5;

template <class Value>
std::string raw(Value value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string attribute(std::uint16_t type, const std::string& payload) {
  auto out = raw(static_cast<std::uint16_t>(payload.size() + 4)) + raw(type) + payload;
  out.resize((out.size() + 3) / 4 * 4);
  return out;
}

std::string message(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence,
                    const std::string& body) {
  return raw(static_cast<std::uint32_t>(16 + body.size())) + raw(type) + raw(flags) +
         raw(sequence) + raw(std::uint32_t{0x99}) + body;
}

std::string data(std::uint32_t sequence, std::uint8_t command, const std::string& attributes) {
  const std::string head{static_cast<char>(command), 1, 0, 0};
  return message(family, 0, sequence, head + attributes);
}

std::string outcome(std::uint32_t sequence, int error, const std::string& why) {
  const auto request = std::string(16, '\0');
  if (why.empty()) return message(NLMSG_ERROR, NLM_F_CAPPED, sequence, raw(-error) + request);
  return message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, sequence,
                 raw(-error) + request + attribute(NLMSGERR_ATTR_MSG, why + std::string(1, '\0')));
}

std::string family_attributes() {
  const auto entry = attribute(CTRL_ATTR_MCAST_GRP_ID, raw(group)) +
                     attribute(CTRL_ATTR_MCAST_GRP_NAME, std::string("nbd_mc_group\0", 13));
  return attribute(CTRL_ATTR_FAMILY_NAME, std::string("nbd\0", 4)) +
         attribute(CTRL_ATTR_FAMILY_ID, raw(family)) +
         attribute(CTRL_ATTR_MCAST_GROUPS, attribute(1, entry));
}

std::optional<std::uint64_t> value_of(std::span<const netlink_attribute> attributes,
                                      std::uint16_t type) {
  const auto* const found = find_attribute(attributes, type);
  if (found == nullptr) return std::nullopt;
  return found->number<std::uint64_t>();
}

std::vector<int> sockets_of(std::span<const netlink_attribute> attributes) {
  std::vector<int> out;
  const auto* const sockets = find_attribute(attributes, NBD_ATTR_SOCKETS);
  if (sockets == nullptr) return out;
  const auto items = decode_attributes(sockets->payload).value();
  for (const auto& item : items) {
    const auto inner = decode_attributes(item.payload).value();
    out.push_back(
        static_cast<int>(find_attribute(inner, NBD_SOCK_FD)->number<std::uint32_t>().value()));
  }
  return out;
}

std::string describe(driver_command command, std::span<const netlink_attribute> attributes) {
  auto out = std::string(to_string(command));
  if (const auto* index = find_attribute(attributes, NBD_ATTR_INDEX))
    out += fmt::format(" nbd{}", index->number<std::uint32_t>().value());
  if (const auto size = value_of(attributes, NBD_ATTR_SIZE_BYTES))
    out += fmt::format(" size={}", *size);
  if (const auto* id = find_attribute(attributes, NBD_ATTR_BACKEND_IDENTIFIER))
    out += fmt::format(" id={}", id->text());
  if (const auto sockets = sockets_of(attributes); !sockets.empty())
    out += fmt::format(" sockets={}", sockets.size());
  return out;
}

void make_pair(unique_fd& one, unique_fd& other) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  one.reset(pair[0]);
  other.reset(pair[1]);
}

}  // namespace

fake_kernel::fake_kernel() {
  make_pair(commands_, driver_commands_);
  make_pair(notices_, driver_notices_);
  thread_ = std::thread([this] { serve(); });
}

fake_kernel::~fake_kernel() {
  ::shutdown(commands_.get(), SHUT_RDWR);
  thread_.join();
}

kernel_driver fake_kernel::driver() {
  return {std::move(driver_commands_), std::move(driver_notices_)};
}

void fake_kernel::unload() {
  const std::lock_guard lock(mutex_);
  loaded_ = false;
}

void fake_kernel::refuse(driver_command command, int error, std::string why) {
  const std::lock_guard lock(mutex_);
  refusals_[command] = {error, std::move(why)};
}

void fake_kernel::reject_identifiers() {
  const std::lock_guard lock(mutex_);
  knows_identifier_ = false;
}

void fake_kernel::answer_with(std::string bytes) {
  const std::lock_guard lock(mutex_);
  next_answer_ = std::move(bytes);
}

void fake_kernel::wait_for_hang_up() {
  const std::lock_guard lock(mutex_);
  waits_for_hang_up_ = true;
}

void fake_kernel::disconnect(std::uint32_t index) {
  with(index, [this](device& target) { release(target); });
}

void fake_kernel::die() {
  const std::lock_guard lock(mutex_);
  dying_ = true;
}

std::vector<std::string> fake_kernel::requests() {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void fake_kernel::kill_link(std::uint32_t index, std::size_t number, bool notify) {
  with(index, [number](device& target) {
    target.dead.at(number) = true;
    ::shutdown(target.sockets.at(number).get(), SHUT_RDWR);
  });
  if (notify) notify_dead_link(index);
}

void fake_kernel::notify_dead_link(std::uint32_t index) {
  const auto bytes = data(0, static_cast<std::uint8_t>(driver_command::link_dead),
                          attribute(NBD_ATTR_INDEX, raw(index)));
  EXPECT_EQ(::send(notices_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

void fake_kernel::serve() {
  std::vector<std::byte> datagram(65536);
  for (;;) {
    const auto count = ::recv(commands_.get(), datagram.data(), datagram.size(), 0);
    if (count <= 0) return;
    const auto bytes = answer(std::span(datagram).first(static_cast<std::size_t>(count)));
    if (bytes.empty()) {
      ::shutdown(commands_.get(), SHUT_RDWR);
      return;
    }
    (void)::send(commands_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
}

std::string fake_kernel::answer(std::span<const std::byte> datagram) {
  const std::lock_guard lock(mutex_);
  if (dying_) return {};
  if (next_answer_) return *std::exchange(next_answer_, std::nullopt);
  const auto request = decode_messages(datagram).value().at(0);
  if (request.type == GENL_ID_CTRL) {
    if (!loaded_) return outcome(request.sequence, ENOENT, {});
    return data(request.sequence, CTRL_CMD_NEWFAMILY, family_attributes()) +
           outcome(request.sequence, 0, {});
  }
  return carry_out(driver_command{request.command}, request);
}

std::string fake_kernel::carry_out(driver_command command, const netlink_message& request) {
  const auto attributes = decode_attributes(request.attributes).value();
  requests_.push_back(describe(command, attributes));
  if (const auto refusal = refusals_.extract(command))
    return outcome(request.sequence, refusal.mapped().first, refusal.mapped().second);
  const auto* const named = find_attribute(attributes, NBD_ATTR_INDEX);
  auto index = named == nullptr ? 0 : named->number<std::uint32_t>().value();
  const auto index_attribute = [&] { return attribute(NBD_ATTR_INDEX, raw(index)); };
  switch (command) {
    case driver_command::connect: {
      const int error = connect(attributes, index);
      if (error != 0) return outcome(request.sequence, error, {});
      return data(request.sequence, request.command, index_attribute()) +
             outcome(request.sequence, 0, {});
    }
    case driver_command::reconfigure:
      return outcome(request.sequence, reconfigure(attributes, devices_[index]), {});
    case driver_command::disconnect:
      release(devices_[index]);
      return outcome(request.sequence, 0, {});
    case driver_command::status: {
      std::string items;
      if (const auto found = devices_.find(index); found != devices_.end()) {
        const bool is_busy = found->second.is_configured || found->second.is_open;
        items = attribute(NBD_DEVICE_ITEM,
                          attribute(NBD_DEVICE_INDEX, raw(index)) +
                              attribute(NBD_DEVICE_CONNECTED, raw(std::uint8_t{is_busy})));
      }
      return data(request.sequence, request.command, attribute(NBD_ATTR_DEVICE_LIST, items)) +
             outcome(request.sequence, 0, {});
    }
    case driver_command::link_dead:
      break;
  }
  return outcome(request.sequence, EOPNOTSUPP, {});
}

int fake_kernel::connect(std::span<const netlink_attribute> attributes, std::uint32_t& index) {
  const auto* const id = find_attribute(attributes, NBD_ATTR_BACKEND_IDENTIFIER);
  if (id != nullptr && !knows_identifier_) return EINVAL;
  if (find_attribute(attributes, NBD_ATTR_INDEX) == nullptr)
    while (devices_[index].is_configured || devices_[index].is_open)
      ++index;
  auto& fresh = devices_[index];
  if (fresh.is_configured || fresh.is_open) return EBUSY;
  const auto sockets = sockets_of(attributes);
  const auto size = value_of(attributes, NBD_ATTR_SIZE_BYTES);
  fresh.flags = value_of(attributes, NBD_ATTR_SERVER_FLAGS).value_or(0);
  if (sockets.empty() || !size) return EINVAL;
  if (sockets.size() > 1 && (fresh.flags & wire::nbd_flag_can_multi_conn) == 0) return EINVAL;
  fresh.size = *size;
  fresh.block_size = value_of(attributes, NBD_ATTR_BLOCK_SIZE_BYTES).value_or(0);
  fresh.timeout = value_of(attributes, NBD_ATTR_TIMEOUT);
  fresh.dead_timeout = value_of(attributes, NBD_ATTR_DEAD_CONN_TIMEOUT);
  fresh.identifier = id == nullptr ? "" : std::string(id->text());
  fresh.sockets.clear();
  for (const int fd : sockets)
    fresh.sockets.push_back(unique_fd::duplicate(fd));
  fresh.dead.assign(sockets.size(), false);
  fresh.is_configured = true;
  return 0;
}

int fake_kernel::reconfigure(std::span<const netlink_attribute> attributes, device& target) {
  if (!target.is_configured) return EINVAL;
  const auto* const id = find_attribute(attributes, NBD_ATTR_BACKEND_IDENTIFIER);
  if (!target.identifier.empty() && (id == nullptr || id->text() != target.identifier))
    return EINVAL;
  if (const auto size = value_of(attributes, NBD_ATTR_SIZE_BYTES)) target.size = *size;
  if (const auto timeout = value_of(attributes, NBD_ATTR_TIMEOUT)) target.timeout = timeout;
  if (const auto timeout = value_of(attributes, NBD_ATTR_DEAD_CONN_TIMEOUT))
    target.dead_timeout = timeout;
  for (const int fd : sockets_of(attributes)) {
    std::size_t i = 0;
    while (i < target.dead.size() && !target.dead[i])
      ++i;
    // The kernel ignores surplus sockets and reports success.
    if (i == target.dead.size()) return 0;
    target.sockets[i] = unique_fd::duplicate(fd);
    target.dead[i] = false;
  }
  return 0;
}

void fake_kernel::release(device& target) const {
  const auto disconnect_request =
      be32(wire::nbd_request_magic) + be16(0) + be16(2) + std::string(20, '\0');
  for (auto& socket : target.sockets) {
    char byte = 0;
    while (waits_for_hang_up_ && ::recv(socket.get(), &byte, 1, 0) > 0) {
    }
    (void)::send(socket.get(), disconnect_request.data(), disconnect_request.size(), MSG_NOSIGNAL);
    ::shutdown(socket.get(), SHUT_RDWR);
  }
  target.sockets.clear();
  target.dead.clear();
  target.is_configured = false;
}

}  // namespace xenpv::nbd::test
