// The disks of sim_frontend_tests that more than one of its files uses; CMakeLists.txt lists them
// all.
#pragma once

namespace xenpv::blkfront {

inline constexpr const char* xvdb = "device/vbd/51728";  ///< linux, 512-byte sectors, four queues
inline constexpr const char* xvdj = "device/vbd/51856";  ///< for what the toolstack does to it

}  // namespace xenpv::blkfront
