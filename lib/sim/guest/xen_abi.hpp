// The prototypes that libxensim.so implements. Xen's headers say nothing of C++ themselves.
#pragma once

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}
