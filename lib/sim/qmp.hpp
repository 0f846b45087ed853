// Commands to a running QEMU through its monitor socket (QMP). Blocks, so do not use it on the host
// thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace xenpv::sim {

/// Changes the size of a disk that QEMU serves (backend=qemu-real), including its file. QEMU then
/// notifies the frontend. `disk`: the value of the node `dev`, such as "xvdb". Throws `failure` if
/// QEMU refuses, does not reply within 10 s, or cannot be reached.
void resize_qemu_disk(const std::filesystem::path& socket, std::string_view disk,
                      std::uint64_t bytes);

}  // namespace xenpv::sim
