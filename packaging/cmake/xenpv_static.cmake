# Settings of -DXENPV_STATIC=ON for all targets: CMake finds only static libraries, and the programs
# are small and position-independent. Included before the other dependencies are searched for.
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(PKG_CONFIG_ARGN --static)
set(OPENSSL_USE_STATIC_LIBS ON)

# Debian has no static libraries of {fmt} and spdlog; their headers contain the implementation.
pkg_check_modules(fmt REQUIRED fmt>=9)
pkg_check_modules(spdlog REQUIRED spdlog>=1.10)
add_library(fmt::fmt INTERFACE IMPORTED)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY=1)
add_library(spdlog::spdlog INTERFACE IMPORTED)
target_compile_definitions(spdlog::spdlog INTERFACE SPDLOG_FMT_EXTERNAL)
target_link_libraries(spdlog::spdlog INTERFACE fmt::fmt Threads::Threads)

# The linker drops the functions and data that nothing uses.
add_compile_options(-ffunction-sections -fdata-sections)
# At -Os, g++ 12 wrongly reports the values of empty std::optional objects.
add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
add_link_options(-static-pie -Wl,--gc-sections -Wl,-z,pack-relative-relocs)
