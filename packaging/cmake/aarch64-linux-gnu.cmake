# CMake toolchain file to cross-build for ARM64; used by packaging/cross-build.sh.
# XENPV_SYSROOT is a directory with the libraries and headers of an ARM64 Debian system.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(XENPV_SYSROOT "" CACHE PATH "Root of an ARM64 system with the -dev packages")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES XENPV_SYSROOT)
set(CMAKE_SYSROOT ${XENPV_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${XENPV_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR}
  ${XENPV_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${XENPV_SYSROOT}/usr/share/pkgconfig)

# The build runs the programs to generate their man pages; the unit tests need emulation, too.
find_program(XENPV_QEMU_AARCH64 NAMES qemu-aarch64 qemu-aarch64-static)
if(XENPV_QEMU_AARCH64)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${XENPV_QEMU_AARCH64} -L ${XENPV_SYSROOT})
endif()
