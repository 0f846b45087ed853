#include "xenpv/wire/nbd.hpp"

namespace xenpv::wire {

std::string_view to_string(nbd_option option) noexcept {
  switch (option) {
    case nbd_option::export_name:
      return "NBD_OPT_EXPORT_NAME";
    case nbd_option::abort:
      return "NBD_OPT_ABORT";
    case nbd_option::list:
      return "NBD_OPT_LIST";
    case nbd_option::peek_export:
      return "NBD_OPT_PEEK_EXPORT";
    case nbd_option::starttls:
      return "NBD_OPT_STARTTLS";
    case nbd_option::info:
      return "NBD_OPT_INFO";
    case nbd_option::go:
      return "NBD_OPT_GO";
    case nbd_option::structured_reply:
      return "NBD_OPT_STRUCTURED_REPLY";
    case nbd_option::list_meta_context:
      return "NBD_OPT_LIST_META_CONTEXT";
    case nbd_option::set_meta_context:
      return "NBD_OPT_SET_META_CONTEXT";
    case nbd_option::extended_headers:
      return "NBD_OPT_EXTENDED_HEADERS";
  }
  return "unknown option";
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
  switch (command) {
    case nbd_command::read:
      return "NBD_CMD_READ";
    case nbd_command::write:
      return "NBD_CMD_WRITE";
    case nbd_command::disc:
      return "NBD_CMD_DISC";
    case nbd_command::flush:
      return "NBD_CMD_FLUSH";
    case nbd_command::trim:
      return "NBD_CMD_TRIM";
    case nbd_command::cache:
      return "NBD_CMD_CACHE";
    case nbd_command::write_zeroes:
      return "NBD_CMD_WRITE_ZEROES";
    case nbd_command::block_status:
      return "NBD_CMD_BLOCK_STATUS";
  }
  return "unknown command";
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
