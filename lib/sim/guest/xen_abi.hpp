// The prototypes that libxensim.so implements. Xen's headers do not declare C linkage for C++.
#pragma once

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}
