// The ring consists of templates; this unit makes it a library and instantiates them once.
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::ring {

template class front_ring<wire::blkif_request, wire::blkif_response>;
template class back_ring<wire::blkif_request, wire::blkif_response>;

}  // namespace xenpv::ring
