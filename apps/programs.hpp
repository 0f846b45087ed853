// Entry points of the programs in this directory, so that each can be built as a separate
// executable (main.cpp) and as an applet of the multi-call program (xenpv/main.cpp). Each folder's
// program.cpp defines one of them. main() calls it once, before the process has other threads.
#pragma once

namespace xenpv::apps {

/// Each runs one program with its command line, where argv[0] may have any value, and returns the
/// exit status. They set signal dispositions, capabilities and the log of the whole process.
int run_disk(int argc, char** argv);
int run_doctor(int argc, char** argv);
int run_evtchn(int argc, char** argv);
int run_ipi(int argc, char** argv);
int run_sim(int argc, char** argv);
int run_timer(int argc, char** argv);

}  // namespace xenpv::apps
