// The three C headers under test. They have no linkage specification of their own, so C++ must give
// it.
#pragma once

// What they include comes first: those headers must not be read as C.
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}
