// The ioctls of Xen's drivers and the hypercalls' structs, from Xen's headers. They are for tools,
// and use extensions of GNU C.
#pragma once

#define __XEN_TOOLS__ 1

#include <cstddef>
#include <cstdint>

extern "C" {
#include <sys/ioctl.h>
#include <xen/xen.h>
// domctl.h and the drivers' headers need the types of xen.h.
#include <xen/domctl.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sys/evtchn.h>
#include <xen/sys/gntalloc.h>
#include <xen/sys/gntdev.h>
#include <xen/sys/privcmd.h>
#include <xen/sysctl.h>
#include <xen/version.h>
}
