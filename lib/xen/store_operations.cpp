#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "xen/cure.hpp"
#include "xen/store_call.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/store.hpp"

// Xen's headers do not declare their functions extern "C".
extern "C" {
#include <xenstore.h>
}

namespace xenpv::xen {
namespace {

// True for an errno that libxenstore sets when the connection is broken. Excludes EIO, because
// xenstored also sends it in replies.
bool is_broken_stream(int error_number) noexcept {
  return error_number == EBADF || error_number == EPIPE || error_number == ECONNRESET;
}

xs_permissions to_c_permissions(const store_permission& permission) noexcept {
  unsigned bits = XS_PERM_NONE;
  if (permission.read) bits |= XS_PERM_READ;
  if (permission.write) bits |= XS_PERM_WRITE;
  return {.id = raw(permission.domain), .perms = bits};
}

}  // namespace

bool answers(xs_handle* handle) noexcept {
  if (handle == nullptr) return false;
  const malloced<char> home(xs_get_domain_path(handle, 0));
  // While its reader thread runs, libxenstore reports a lost connection as EINVAL.
  return home != nullptr || (!is_broken_stream(errno) && errno != EINVAL);
}

void throw_request_failed(xs_handle* handle, int error_number, std::string_view operation) {
  const bool lost = is_broken_stream(error_number) || (error_number == EINVAL && !answers(handle));
  if (lost) throw failure(errc::lost_connection, operation, "xenstored has exited");
  throw_failed(attempt::store_request, error_number, operation);
}

std::string store_operations::read(const std::string& path) const {
  unsigned length = 0;
  const malloced<void> value(xs_read(handle_, transaction_, path.c_str(), &length));
  if (!value) throw_request_failed(handle_, errno, fmt::format("read {}", path));
  return {static_cast<const char*>(value.get()), length};
}

std::optional<std::string> store_operations::read_if_exists(const std::string& path) const {
  unsigned length = 0;
  const malloced<void> value(xs_read(handle_, transaction_, path.c_str(), &length));
  if (value) return std::string(static_cast<const char*>(value.get()), length);
  if (errno == ENOENT) return std::nullopt;
  throw_request_failed(handle_, errno, fmt::format("read {}", path));
}

std::vector<std::string> store_operations::list(const std::string& path) const {
  if (auto names = list_if_exists(path)) return *std::move(names);
  throw_request_failed(handle_, ENOENT, fmt::format("list {}", path));
}

std::optional<std::vector<std::string>> store_operations::list_if_exists(
    const std::string& path) const {
  unsigned count = 0;
  const malloced<char*> names(xs_directory(handle_, transaction_, path.c_str(), &count));
  if (names) return std::vector<std::string>(names.get(), names.get() + count);
  if (errno == ENOENT) return std::nullopt;
  throw_request_failed(handle_, errno, fmt::format("list {}", path));
}

void store_operations::write(const std::string& path, std::string_view value) const {
  const auto operation = [&] { return fmt::format("write {} bytes to {}", value.size(), path); };
  if (value.size() > std::numeric_limits<unsigned>::max())
    throw_request_failed(handle_, E2BIG, operation());
  if (!xs_write(handle_, transaction_, path.c_str(), value.data(),
                static_cast<unsigned>(value.size())))
    throw_request_failed(handle_, errno, operation());
}

void store_operations::make_directory(const std::string& path) const {
  if (!xs_mkdir(handle_, transaction_, path.c_str()))
    throw_request_failed(handle_, errno, fmt::format("make directory {}", path));
}

bool store_operations::remove(const std::string& path) const {
  if (xs_rm(handle_, transaction_, path.c_str())) return true;
  if (errno == ENOENT) return false;
  throw_request_failed(handle_, errno, fmt::format("remove {}", path));
}

std::vector<store_permission> store_operations::permissions(const std::string& path) const {
  unsigned count = 0;
  const malloced<xs_permissions> list(
      xs_get_permissions(handle_, transaction_, path.c_str(), &count));
  if (!list) throw_request_failed(handle_, errno, fmt::format("read permissions of {}", path));
  std::vector<store_permission> permissions;
  permissions.reserve(count);
  for (const auto& entry : std::span(list.get(), count))
    permissions.push_back({.domain = domid(static_cast<std::uint16_t>(entry.id)),
                           .read = (entry.perms & XS_PERM_READ) != 0,
                           .write = (entry.perms & XS_PERM_WRITE) != 0});
  return permissions;
}

void store_operations::set_permissions(const std::string& path,
                                       std::span<const store_permission> list) const {
  const auto operation = [&] { return fmt::format("set permissions of {}", path); };
  if (list.empty()) throw failure(errc::invalid_argument, operation(), "a node needs an owner");
  std::vector<xs_permissions> entries(list.size());
  std::transform(list.begin(), list.end(), entries.begin(), to_c_permissions);
  if (!xs_set_permissions(handle_, transaction_, path.c_str(), entries.data(),
                          static_cast<unsigned>(entries.size())))
    throw_request_failed(handle_, errno, operation());
}

}  // namespace xenpv::xen
