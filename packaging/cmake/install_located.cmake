# Run by `cmake --install` for each file of xenpv_install_located(), which sets the variables
# located_*. Installs one file and replaces, in the installed file:
#
#   @CMAKE_INSTALL_FULL_BINDIR@, /usr/bin/xenpv-    the directory of the programs
#   @CMAKE_INSTALL_FULL_DATADIR@, /usr/share/xenpv  the directory of read-only data

# The option --prefix may be relative to the current directory, which is the source directory here.
cmake_path(ABSOLUTE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE
  OUTPUT_VARIABLE located_prefix)
foreach(located_kind IN ITEMS bindir datadir destination)
  cmake_path(ABSOLUTE_PATH located_${located_kind} BASE_DIRECTORY "${located_prefix}" NORMALIZE
    OUTPUT_VARIABLE located_full_${located_kind})
endforeach()

# file(INSTALL) prepends DESTDIR and sets the permissions, which file(WRITE) keeps. It would not
# replace a file with the time of the source, in which the paths have been replaced already.
set(located_file "$ENV{DESTDIR}${located_full_destination}/${located_name}")
file(REMOVE "${located_file}")
file(INSTALL DESTINATION "${located_full_destination}" TYPE ${located_type} RENAME "${located_name}"
  FILES "${located_source}")

file(READ "${located_file}" located_text)
string(REPLACE "/usr/bin/xenpv-" "@CMAKE_INSTALL_FULL_BINDIR@/xenpv-" located_text "${located_text}")
string(REPLACE "/usr/share/xenpv" "@CMAKE_INSTALL_FULL_DATADIR@/xenpv" located_text "${located_text}")
string(REPLACE "@CMAKE_INSTALL_FULL_BINDIR@" "${located_full_bindir}" located_text "${located_text}")
string(REPLACE "@CMAKE_INSTALL_FULL_DATADIR@" "${located_full_datadir}" located_text "${located_text}")
file(WRITE "${located_file}" "${located_text}")
