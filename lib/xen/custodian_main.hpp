// The program xenpv-custodian as a function, for its own executable and for the multi-call program,
// which contains it as an applet. Called once, by main().
#pragma once

namespace xenpv::xen {

/// Serves as the custodian of the process that started this one and passed it a socket as
/// descriptor custodian_socket. Returns 2 without such a socket; otherwise ends the process once
/// its duties are done.
int custodian_main(int argc, char** argv);

}  // namespace xenpv::xen
