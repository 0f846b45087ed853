// The prototypes of the functions that libxensim.so implements. Xen's headers do not declare C
// linkage themselves.
#pragma once

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}
