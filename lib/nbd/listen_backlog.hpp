// The backlog of all listening sockets.
#pragma once

namespace xenpv::nbd {

/// Clients that wait until the server accepts them. A burst of connections, for example after a
/// switch recovers, must not be refused.
inline constexpr int listen_backlog = 64;

}  // namespace xenpv::nbd
