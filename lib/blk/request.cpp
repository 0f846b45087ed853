#include "xenpv/blk/request.hpp"

namespace xenpv::blk {

std::string_view to_string(operation op) noexcept {
  switch (op) {
    case operation::read:
      return "read";
    case operation::write:
      return "write";
    case operation::flush:
      return "flush";
    case operation::discard:
      return "discard";
    case operation::secure_discard:
      return "secure discard";
  }
  return "invalid";
}

}  // namespace xenpv::blk
