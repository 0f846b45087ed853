// The three C headers under test. They do not declare C linkage, so C++ code must.
#pragma once

// Include their own includes first: those must not get C linkage.
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}
