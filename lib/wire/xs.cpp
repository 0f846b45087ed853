#include "wire/xs.hpp"

#include <cerrno>

namespace xenpv::wire {

std::string_view to_string(xs_type type) noexcept {
  switch (type) {
    case xs_type::control:
      return "control";
    case xs_type::directory:
      return "directory";
    case xs_type::read:
      return "read";
    case xs_type::get_perms:
      return "get_perms";
    case xs_type::watch:
      return "watch";
    case xs_type::unwatch:
      return "unwatch";
    case xs_type::transaction_start:
      return "transaction_start";
    case xs_type::transaction_end:
      return "transaction_end";
    case xs_type::introduce:
      return "introduce";
    case xs_type::release:
      return "release";
    case xs_type::get_domain_path:
      return "get_domain_path";
    case xs_type::write:
      return "write";
    case xs_type::mkdir:
      return "mkdir";
    case xs_type::rm:
      return "rm";
    case xs_type::set_perms:
      return "set_perms";
    case xs_type::watch_event:
      return "watch_event";
    case xs_type::error:
      return "error";
    case xs_type::is_domain_introduced:
      return "is_domain_introduced";
    case xs_type::resume:
      return "resume";
    case xs_type::set_target:
      return "set_target";
    case xs_type::reset_watches:
      return "reset_watches";
    case xs_type::directory_part:
      return "directory_part";
  }
  return "unknown";
}

std::string_view xs_error_name(int errno_value) noexcept {
  switch (errno_value) {
    case EACCES:
      return "EACCES";
    case EEXIST:
      return "EEXIST";
    case EISDIR:
      return "EISDIR";
    case ENOENT:
      return "ENOENT";
    case ENOMEM:
      return "ENOMEM";
    case ENOSPC:
      return "ENOSPC";
    case EIO:
      return "EIO";
    case ENOTEMPTY:
      return "ENOTEMPTY";
    case ENOSYS:
      return "ENOSYS";
    case EROFS:
      return "EROFS";
    case EBUSY:
      return "EBUSY";
    case EAGAIN:
      return "EAGAIN";
    case EISCONN:
      return "EISCONN";
    case E2BIG:
      return "E2BIG";
    case EPERM:
      return "EPERM";
    default:
      return "EINVAL";
  }
}

}  // namespace xenpv::wire
