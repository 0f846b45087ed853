// Makes sure that descriptors 0, 1 and 2 are open. A program that was started with one of them
// closed would otherwise get its number for a socket or a device, and messages would end up in the
// data of a client. Does not touch any other descriptor, such as sockets from a service manager.
#pragma once

namespace xenpv {

/// Opens each missing one of stdin, stdout and stderr. Call first in main(), before anything opens
/// a descriptor.
///
/// Reading from such a stdin and writing to such a stdout fails (EBADF), as if they were still
/// closed, so that lost data is an error. Messages to such a stderr are discarded. Child processes
/// inherit the descriptors. If none can be opened, writes nothing and exits with status 1.
void open_standard_streams() noexcept;

}  // namespace xenpv
