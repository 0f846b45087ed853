# xenpv_room(NAME SOURCES ... [PUBLIC_DEPS ...] [PRIVATE_DEPS ...] [PRECOMPILE header...])
#
# Defines the static library `xenpv_NAME` (alias xenpv::NAME) with sources in lib/NAME. Its public
# headers, if any, are in include/xenpv/NAME; each must compile on its own
# (VERIFY_INTERFACE_HEADER_SETS).

add_library(xenpv_options INTERFACE)
add_library(xenpv::options ALIAS xenpv_options)
set_target_properties(xenpv_options PROPERTIES EXPORT_NAME options)
target_compile_features(xenpv_options INTERFACE cxx_std_20)

# Warnings apply only to this project's code, so they are not exported.
add_library(xenpv_warnings INTERFACE)
target_compile_options(xenpv_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual -Wcast-align -Wformat=2 -Wimplicit-fallthrough -Wswitch-enum)
# At some optimization levels, g++ 12 wrongly reports mismatched new and delete for coroutine
# frames, which Asio allocates and frees.
target_compile_options(xenpv_warnings INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>)
if(XENPV_WERROR)
  target_compile_options(xenpv_warnings INTERFACE -Werror)
endif()

if(XENPV_SANITIZE)
  # For all targets: a partly instrumented program causes false reports.
  add_compile_options(-fsanitize=${XENPV_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${XENPV_SANITIZE})
  # The prologue data that clang emits for -fsanitize=function breaks coroutines ("difference across
  # sections").
  add_compile_options($<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=function>)
  # The sources test the macros that GCC defines; clang does not define them.
  if(XENPV_SANITIZE MATCHES "address")
    add_compile_definitions($<$<CXX_COMPILER_ID:Clang>:__SANITIZE_ADDRESS__>)
  endif()
  if(XENPV_SANITIZE MATCHES "thread")
    add_compile_definitions($<$<CXX_COMPILER_ID:Clang>:__SANITIZE_THREAD__>)
    # libtsan does not support atomic_thread_fence. GCC warns about each use, including those in
    # Asio.
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
  endif()
endif()

# Precompiles the most expensive headers, which halves the build time. Each source must still
# include the headers it uses (the header check and clang-tidy build with
# CMAKE_DISABLE_PRECOMPILE_HEADERS).
add_library(xenpv_precompiled OBJECT ${CMAKE_CURRENT_LIST_DIR}/precompiled.cpp)
target_link_libraries(xenpv_precompiled PRIVATE fmt::fmt Boost::headers xenpv_warnings)
set(xenpv_costly_headers
  <algorithm> <array> <atomic> <chrono> <cstdint> <filesystem> <functional> <map> <memory> <mutex>
  <optional> <span> <string> <string_view> <system_error> <utility> <variant> <vector>
  <boost/system/result.hpp> <fmt/format.h>)
target_precompile_headers(xenpv_precompiled PRIVATE ${xenpv_costly_headers})

# Unity builds halve the time of a full build but slow down incremental builds.
option(XENPV_UNITY "Compile the sources of a library in batches" OFF)
set(XENPV_UNITY_BATCH 16 CACHE STRING "Maximum number of sources in a batch")

# xenpv_batches(TARGET): enables unity builds for a target whose sources support them.
function(xenpv_batches target)
  if(NOT XENPV_UNITY)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${XENPV_UNITY_BATCH})
  # The sources are included in a batch, so g++ warns about unnamed namespaces as in a header.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endfunction()

function(xenpv_room name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS;PRECOMPILE" ${ARGN})
  add_library(xenpv_${name} STATIC ${arg_SOURCES})
  add_library(xenpv::${name} ALIAS xenpv_${name})
  set_target_properties(xenpv_${name} PROPERTIES EXPORT_NAME ${name} VERIFY_INTERFACE_HEADER_SETS ON)
  set(headers_dir ${PROJECT_SOURCE_DIR}/include/xenpv/${name})
  if(IS_DIRECTORY ${headers_dir})
    file(GLOB headers CONFIGURE_DEPENDS ${headers_dir}/*.hpp)
    target_sources(xenpv_${name} PUBLIC FILE_SET HEADERS
      BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${headers})
  endif()
  target_include_directories(xenpv_${name} PRIVATE ${PROJECT_SOURCE_DIR}/lib)
  if(arg_PRECOMPILE)
    target_precompile_headers(xenpv_${name} PRIVATE ${xenpv_costly_headers} ${arg_PRECOMPILE})
  else()
    target_precompile_headers(xenpv_${name} REUSE_FROM xenpv_precompiled)
  endif()
  xenpv_batches(xenpv_${name})
  # The fuzz targets need to know which branches their inputs reach.
  if(XENPV_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID MATCHES Clang)
    target_compile_options(xenpv_${name} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  target_link_libraries(xenpv_${name}
    PUBLIC xenpv_options ${arg_PUBLIC_DEPS}
    PRIVATE $<BUILD_INTERFACE:xenpv_warnings> ${arg_PRIVATE_DEPS})
endfunction()
