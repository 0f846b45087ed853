#include "ublk/translation.hpp"

#include <cerrno>
#include <limits>

#include "xenpv/base/error.hpp"

namespace xenpv::ublk {
namespace {

block_operation refuse(int error) {
  block_operation out;
  out.refused = -error;
  return out;
}

}  // namespace

block_operation translate(const io_desc& descriptor, std::uint64_t largest) noexcept {
  block_operation out;
  switch (static_cast<io_operation>(descriptor.op_flags & io_operation_mask)) {
    case io_operation::flush:
      out.op = blk::operation::flush;
      return out;
    case io_operation::read:
      break;
    case io_operation::write:
      out.op = blk::operation::write;
      out.fua = (descriptor.op_flags & io_f_fua) != 0;
      break;
    case io_operation::discard:
      out.op = blk::operation::discard;
      break;
    case io_operation::write_same:
    case io_operation::write_zeroes:
    default:
      return refuse(EOPNOTSUPP);
  }
  out.length = descriptor.nr_sectors * sector_bytes;
  if (out.length == 0 || (out.has_data() && out.length > largest)) return refuse(EINVAL);
  const auto last = (std::numeric_limits<std::uint64_t>::max() - out.length) / sector_bytes;
  if (descriptor.start_sector > last) return refuse(EINVAL);
  out.offset = descriptor.start_sector * sector_bytes;
  return out;
}

std::int32_t result_of(const block_operation& operation, const std::error_code& status) noexcept {
  if (operation.refused != 0) return operation.refused;
  if (!status) return operation.has_data() ? static_cast<std::int32_t>(operation.length) : 0;
  // The kernel would retry after some errors, such as EAGAIN and ENOMEM. The others are the same to
  // it as EIO.
  if (status == std::errc::operation_not_supported) return -EOPNOTSUPP;
  if (status == std::errc::timed_out || status == errc::timed_out) return -ETIMEDOUT;
  if (status == std::errc::no_space_on_device) return -ENOSPC;
  return -EIO;
}

}  // namespace xenpv::ublk
