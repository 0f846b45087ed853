#include "xenpv/wire/nbd.hpp"

#include "base/enum_name.hpp"

namespace xenpv::wire {

std::string_view to_string(nbd_option option) noexcept {
  constexpr auto unknown = "unknown option";
  if (option > nbd_option::extended_headers) return unknown;
  return enum_name<nbd_option::extended_headers>(
      option, unknown, "NBD_OPT_EXPORT_NAME", "NBD_OPT_ABORT", "NBD_OPT_LIST",
      "NBD_OPT_PEEK_EXPORT", "NBD_OPT_STARTTLS", "NBD_OPT_INFO", "NBD_OPT_GO",
      "NBD_OPT_STRUCTURED_REPLY", "NBD_OPT_LIST_META_CONTEXT", "NBD_OPT_SET_META_CONTEXT",
      "NBD_OPT_EXTENDED_HEADERS");
}

std::string_view to_string(nbd_reply type) noexcept {
  switch (type) {
    case nbd_reply::ack:
      return "NBD_REP_ACK";
    case nbd_reply::server:
      return "NBD_REP_SERVER";
    case nbd_reply::info:
      return "NBD_REP_INFO";
    case nbd_reply::meta_context:
      return "NBD_REP_META_CONTEXT";
    case nbd_reply::err_unsup:
      return "NBD_REP_ERR_UNSUP";
    case nbd_reply::err_policy:
      return "NBD_REP_ERR_POLICY";
    case nbd_reply::err_invalid:
      return "NBD_REP_ERR_INVALID";
    case nbd_reply::err_platform:
      return "NBD_REP_ERR_PLATFORM";
    case nbd_reply::err_tls_reqd:
      return "NBD_REP_ERR_TLS_REQD";
    case nbd_reply::err_unknown:
      return "NBD_REP_ERR_UNKNOWN";
    case nbd_reply::err_shutdown:
      return "NBD_REP_ERR_SHUTDOWN";
    case nbd_reply::err_block_size_reqd:
      return "NBD_REP_ERR_BLOCK_SIZE_REQD";
    case nbd_reply::err_too_big:
      return "NBD_REP_ERR_TOO_BIG";
    case nbd_reply::err_ext_header_reqd:
      return "NBD_REP_ERR_EXT_HEADER_REQD";
  }
  return "unknown reply";
}

std::string_view to_string(nbd_command command) noexcept {
  if (command > nbd_command::block_status) return "unknown command";
  return enum_name<nbd_command::block_status>(
      command, "NBD_CMD_READ", "NBD_CMD_WRITE", "NBD_CMD_DISC", "NBD_CMD_FLUSH", "NBD_CMD_TRIM",
      "NBD_CMD_CACHE", "NBD_CMD_WRITE_ZEROES", "NBD_CMD_BLOCK_STATUS");
}

std::string_view to_string(nbd_error error) noexcept {
  switch (error) {
    case nbd_error::none:
      return "success";
    case nbd_error::eperm:
      return "NBD_EPERM";
    case nbd_error::eio:
      return "NBD_EIO";
    case nbd_error::enomem:
      return "NBD_ENOMEM";
    case nbd_error::einval:
      return "NBD_EINVAL";
    case nbd_error::enospc:
      return "NBD_ENOSPC";
    case nbd_error::eoverflow:
      return "NBD_EOVERFLOW";
    case nbd_error::enotsup:
      return "NBD_ENOTSUP";
    case nbd_error::eshutdown:
      return "NBD_ESHUTDOWN";
  }
  return "unknown error";
}

}  // namespace xenpv::wire
