# xenpv_install_located(DESTINATION directory [PROGRAMS] [RENAME name] FILES file...)
#
# Installs text files that name other installed files, such as units and man pages, with the paths of
# the prefix that `cmake --install --prefix` selects. install(FILES) would keep the configured prefix.
# The suffix `.in` of a file is dropped. install_located.cmake lists what is replaced.
function(xenpv_install_located)
  cmake_parse_arguments(arg "PROGRAMS" "DESTINATION;RENAME" "FILES" ${ARGN})
  set(type FILE)
  if(arg_PROGRAMS)
    set(type PROGRAM)
  endif()
  foreach(file IN LISTS arg_FILES)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE source)
    set(name ${arg_RENAME})
    if(NOT name)
      cmake_path(GET source FILENAME name)
      string(REGEX REPLACE "\\.in$" "" name "${name}")
    endif()
    install(CODE "
set(located_source [==[${source}]==])
set(located_name [==[${name}]==])
set(located_type ${type})
set(located_destination [==[${arg_DESTINATION}]==])
set(located_bindir [==[${CMAKE_INSTALL_BINDIR}]==])
set(located_datadir [==[${CMAKE_INSTALL_DATADIR}]==])
include([==[${PROJECT_SOURCE_DIR}/packaging/cmake/install_located.cmake]==])")
  endforeach()
endfunction()
