// The three C headers under test. They declare no linkage, so C++ code must.
#pragma once

// Their own includes come first: those must not get C linkage.
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}
