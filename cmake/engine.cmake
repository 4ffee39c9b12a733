# weir_engine: the Rust library over YARA-X, built once into a cache outside the
# clone by tools/engine_build.sh. --whole-archive keeps the link-time
# constructors that register YARA's modules; without it every import fails.
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/tools/engine_build.sh
  OUTPUT_VARIABLE WEIR_ENGINE_DIR OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE rc)
if(NOT rc EQUAL 0)
  message(FATAL_ERROR "the engine did not build; see the lines above")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/Cargo.lock
  ${CMAKE_SOURCE_DIR}/engine/include/engine.h)
file(GLOB_RECURSE WEIR_ENGINE_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/src/*.rs)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${WEIR_ENGINE_SOURCES})
add_library(weir_engine INTERFACE)
target_include_directories(weir_engine INTERFACE ${CMAKE_SOURCE_DIR}/engine/include)
target_link_libraries(weir_engine INTERFACE
  -Wl,--whole-archive ${WEIR_ENGINE_DIR}/libengine.a -Wl,--no-whole-archive
  magic gcc_s util rt pthread m dl)
set(WEIR_PROTO_DIR ${WEIR_ENGINE_DIR}/protos)
