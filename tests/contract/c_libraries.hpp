// The three C headers under test. The headers do not declare C linkage, so C++ code must.
#pragma once

// Include the headers that they include first, because those must not get C linkage.
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}
