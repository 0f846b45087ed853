// Prototypes of the functions that libxensim.so implements. The Xen headers do not declare C
// linkage.
#pragma once

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}
