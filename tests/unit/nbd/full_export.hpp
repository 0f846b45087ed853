// An export with all features.
#pragma once

#include "nbd/codec_export.hpp"

namespace xenpv::nbd::test {

inline export_info full_export(std::uint64_t size) {
  export_info out;
  out.name = "disk";
  out.size = size;
  out.can_flush = out.can_fua = out.can_trim = out.can_write_zeroes = out.can_multi_conn = true;
  out.can_fast_zero = true;  // fast-zero requests are refused, as by the server
  return out;
}

}  // namespace xenpv::nbd::test
