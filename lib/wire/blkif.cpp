#include "xenpv/wire/blkif.hpp"

namespace xenpv::wire {

std::string_view to_string(blkif_op op) noexcept {
  switch (op) {
    case blkif_op::read:
      return "READ";
    case blkif_op::write:
      return "WRITE";
    case blkif_op::write_barrier:
      return "WRITE_BARRIER";
    case blkif_op::flush_diskcache:
      return "FLUSH_DISKCACHE";
    case blkif_op::discard:
      return "DISCARD";
    case blkif_op::indirect:
      return "INDIRECT";
  }
  return "invalid";
}

}  // namespace xenpv::wire
