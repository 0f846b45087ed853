// Disks that several files of sim_frontend_tests use; CMakeLists.txt lists all disks.
#pragma once

namespace xenpv::blkfront {

inline constexpr const char* xvdb = "device/vbd/51728";  ///< linux, 512-byte sectors, four queues
inline constexpr const char* xvdj = "device/vbd/51856";  ///< for toolstack actions

}  // namespace xenpv::blkfront
