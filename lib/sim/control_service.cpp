#include "sim/control_service.hpp"

#include <cerrno>
#include <cstring>

#include "sim/socket_message.hpp"

namespace xenpv::sim {
namespace {

int errno_of(std::errc code) {
  return static_cast<int>(code);
}

domid to_domid(std::uint64_t value) {
  return domid{static_cast<std::uint16_t>(value)};
}

event_channels::handle_id handle_of(const control_request& request) {
  return {static_cast<std::uint16_t>(request.a >> 32), static_cast<std::uint32_t>(request.a)};
}

std::uint64_t pack(event_channels::handle_id id) {
  return std::uint64_t{id.index} << 32 | id.generation;
}

std::optional<std::uint32_t> notice_value(std::uint64_t value) {
  if (value == no_notice) return std::nullopt;
  return static_cast<std::uint32_t>(value);
}

}  // namespace

control_service::control_service(control_host& host, unique_fd socket, std::uint8_t slot,
                                 pid_t process)
    : host_(host), socket_(std::move(socket)), slot_(slot), process_(process) {}

control_service::~control_service() {
  for (const auto id : maps_)
    (void)host_.grants().unmap(id);
  for (const auto id : shares_)
    (void)host_.grants().unshare(id);
}

bool control_service::serve() {
  std::vector<std::uint32_t> words(control_words_max);
  control_request request{};
  unique_fd ignored_fd;
  const auto bytes =
      receive_message(socket_.get(), &request, sizeof request, words.data(),
                      words.size() * sizeof(std::uint32_t), ignored_fd, MSG_DONTWAIT);
  if (bytes < 0) return errno == EAGAIN;
  if (static_cast<std::size_t>(bytes) != request.count * sizeof(std::uint32_t)) return false;
  auto result = execute(request, {words.data(), request.count});
  result.reply.count = static_cast<std::uint32_t>(result.words.size());
  const int fd = result.owned ? result.owned.get() : result.fd;
  return send_message(socket_.get(), &result.reply, sizeof result.reply, result.words.data(),
                      result.words.size() * sizeof(std::uint32_t), fd);
}

bool control_service::owns(event_channels::handle_id id) const {
  // Handles are inherited across fork() and can be passed with SCM_RIGHTS, so any process of the
  // domain may use a handle, as on Linux.
  return host_.events().slot_of(id) == slot_;
}

control_service::answer control_service::execute(const control_request& request,
                                                 std::span<const std::uint32_t> words) {
  answer out;
  switch (request.op) {
    case control_op::hello:
      out.reply.error = request.a == shared_magic ? 0 : EPROTO;
      out.reply.a = slot_;
      out.fd = host_.shared_memory();
      if (request.b != 0) process_ = static_cast<pid_t>(request.b);
      return out;
    case control_op::evtchn_open:
      return open_handle();
    case control_op::evtchn_adopt:
      if (const auto id = host_.events().adopt(slot_, request.a))
        out.reply.a = pack(*id);
      else
        out.reply.error = EBADF;
      return out;
    case control_op::evtchn_closed:
      host_.check_handle(handle_of(request), process_);
      return out;
    case control_op::evtchn_waker:
      // Handles of any domain are allowed: the remote end of a channel belongs to another domain.
      out.fd = host_.events().waker(handle_of(request));
      out.reply.error = out.fd < 0 ? EBADF : 0;
      return out;
    case control_op::bind_unbound:
    case control_op::bind_interdomain:
    case control_op::bind_virq:
    case control_op::unbind:
    case control_op::restrict_domid:
      return bind(request);
    case control_op::delayed_event:
      host_.delay_event(slot_, static_cast<std::uint32_t>(request.a));
      return out;
    case control_op::share:
      return share(request);
    case control_op::map:
      return map(request, words);
    case control_op::unshare:
      return unshare(words);
    case control_op::unmap:
      return unmap(request);
    case control_op::share_notice:
    case control_op::map_notice:
      return set_notice(request);
    case control_op::memory:
      out.fd = request.a < max_domains ? host_.grants().memory(static_cast<std::uint8_t>(request.a))
                                       : -1;
      out.reply.error = out.fd < 0 ? ESRCH : 0;
      return out;
    case control_op::not_simulated:
      host_.note_missing_call(static_cast<call_kind>(request.a), request.b, request.c, process_);
      return out;
  }
  out.reply.error = ENOTTY;
  return out;
}

control_service::answer control_service::open_handle() {
  answer out;
  auto opened = host_.events().open(slot_, process_);
  if (!opened) {
    out.reply.error = errno_of(opened.error());
    return out;
  }
  host_.watch_handle(*opened);
  out.reply.a = pack(opened->id);
  out.owned = std::move(opened->reader);
  return out;
}

control_service::answer control_service::bind(const control_request& request) {
  answer out;
  const auto id = handle_of(request);
  auto& events = host_.events();
  if (!owns(id)) {
    out.reply.error = EBADF;
    return out;
  }
  const auto number = static_cast<std::uint32_t>(request.b);
  ioctl_result result = std::errc::inappropriate_io_control_operation;
  if (request.op == control_op::bind_unbound) result = events.bind_unbound(id, to_domid(request.b));
  if (request.op == control_op::bind_interdomain)
    result =
        events.bind_interdomain(id, to_domid(request.b), static_cast<std::uint32_t>(request.c));
  if (request.op == control_op::bind_virq) result = events.bind_virq(id, number);
  if (request.op == control_op::unbind) result = events.unbind(id, number, process_);
  if (request.op == control_op::restrict_domid)
    result = events.restrict_to(id, to_domid(request.b));
  if (result) {
    out.reply.a = *result;
  } else {
    out.reply.error = errno_of(result.error());
    if (result.error() == std::errc::owner_dead) host_.kill_process(process_);
  }
  return out;
}

control_service::answer control_service::share(const control_request& request) {
  answer out;
  if (request.c > control_words_max / 2) {
    out.reply.error = ENOSPC;
    return out;
  }
  const auto id =
      host_.grants().share(slot_, to_domid(request.a), static_cast<std::uint32_t>(request.c),
                           request.b != 0, host_.grant_limit(slot_));
  if (!id) {
    out.reply.error = errno_of(id.error());
    return out;
  }
  out.reply.a = *id;
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(request.c); ++i) {
    shares_.insert(*id + i);
    const auto [page, ref] = host_.grants().page(*id + i);
    out.words.push_back(page);
    out.words.push_back(ref);
  }
  return out;
}

control_service::answer control_service::map(const control_request& request,
                                             std::span<const std::uint32_t> words) {
  answer out;
  std::vector<grant_tables::foreign_grant> grants;
  for (std::size_t i = 0; i + 1 < words.size(); i += 2)
    grants.push_back({to_domid(words[i]), words[i + 1]});
  const auto id = host_.grants().map(slot_, grants, request.a != 0);
  if (!id) {
    out.reply.error = errno_of(id.error());
    return out;
  }
  maps_.insert(*id);
  out.reply.a = *id;
  for (const auto& [slot, page] : host_.grants().mapping(*id)) {
    out.words.push_back(slot);
    out.words.push_back(page);
  }
  return out;
}

control_service::answer control_service::unshare(std::span<const std::uint32_t> ids) {
  answer out;
  for (const auto id : ids)
    out.reply.error = shares_.erase(id) == 0 ? EINVAL : errno_of(host_.grants().unshare(id));
  return out;
}

control_service::answer control_service::unmap(const control_request& request) {
  answer out;
  const auto id = static_cast<std::uint32_t>(request.a);
  out.reply.error = maps_.erase(id) == 0 ? EINVAL : errno_of(host_.grants().unmap(id));
  return out;
}

control_service::answer control_service::set_notice(const control_request& request) {
  answer out;
  const auto id = static_cast<std::uint32_t>(request.a);
  const bool sharing = request.op == control_op::share_notice;
  const grant_notice notice{notice_value(request.b), notice_value(request.c)};
  const bool id_known = sharing ? shares_.contains(id) : maps_.contains(id);
  if (!id_known)
    out.reply.error = EINVAL;
  else
    out.reply.error = errno_of(sharing ? host_.grants().set_share_notice(id, notice)
                                       : host_.grants().set_map_notice(id, notice));
  return out;
}

}  // namespace xenpv::sim
