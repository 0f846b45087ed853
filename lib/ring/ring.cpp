// The ring classes are templates. This file instantiates them once, so that the library has an
// object file.
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::ring {

template class front_ring<wire::blkif_request, wire::blkif_response>;
template class back_ring<wire::blkif_request, wire::blkif_response>;

}  // namespace xenpv::ring
