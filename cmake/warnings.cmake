# Warnings are errors in every preset of ours. A library links weir_flags to get them.
add_library(weir_flags INTERFACE)
target_compile_features(weir_flags INTERFACE c_std_17)
target_compile_definitions(weir_flags INTERFACE _GNU_SOURCE)
target_compile_options(weir_flags INTERFACE "SHELL:-include ${CMAKE_SOURCE_DIR}/src/base/include/base/banned.h")
target_compile_options(weir_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
  -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Walloca -Wformat=2 -Wundef
  -Wconversion -Wno-sign-conversion -Wswitch-enum -Wimplicit-fallthrough
  -Wnull-dereference -Wdouble-promotion -fno-common -fno-strict-aliasing
  $<$<C_COMPILER_ID:GNU>:-Wlogical-op;-Wduplicated-cond;-Wduplicated-branches;-Wcast-align=strict>
  $<$<C_COMPILER_ID:Clang>:-Wcomma;-Wno-string-conversion;-Wunreachable-code;-Wthread-safety>)
# Objects name files from the top of the clone: reports read better, and clones share objects through ccache.
target_compile_options(weir_flags INTERFACE -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
target_compile_options(weir_flags INTERFACE $<$<CONFIG:Debug>:-O1;-g3;-fno-omit-frame-pointer>
  $<$<CONFIG:Release>:-O2;-g;-D_FORTIFY_SOURCE=3;-fstack-protector-strong;-fstack-clash-protection;-fcf-protection;-fPIE;-ftrivial-auto-var-init=zero>)
target_link_options(weir_flags INTERFACE $<$<CONFIG:Release>:-pie;-Wl,-z,relro,-z,now>)
# Test programs hold the engine's 146 MB each: LLVM's linker takes a quarter of the processor time of GNU's.
find_program(WEIR_LLD ld.lld)
if(WEIR_LLD)
  target_link_options(weir_flags INTERFACE $<$<CONFIG:Debug>:-fuse-ld=lld>)
endif()
# The stack-hungry instrumentation makes these two unsure of code that is fine.
if(WEIR_SANITIZE)
  string(REPLACE "," ";" WEIR_SANITIZE_LIST "${WEIR_SANITIZE}")
  foreach(s ${WEIR_SANITIZE_LIST})
    target_compile_options(weir_flags INTERFACE -fsanitize=${s} -Wno-null-dereference)
    target_link_options(weir_flags INTERFACE -fsanitize=${s})
  endforeach()
  target_compile_options(weir_flags INTERFACE -fno-sanitize-recover=all)
  target_compile_definitions(weir_flags INTERFACE WEIR_SANITIZED=1)
else()
  target_compile_definitions(weir_flags INTERFACE WEIR_SANITIZED=0)
endif()
if(WEIR_ARENA_MALLOC)
  target_compile_definitions(weir_flags INTERFACE WEIR_ARENA_MALLOC=1)
else()
  target_compile_definitions(weir_flags INTERFACE WEIR_ARENA_MALLOC=0)
endif()

# weir_layer(NAME SOURCES... ) makes the static library weir_NAME from
# src/NAME's sources with src/NAME/include as its only public include root.
function(weir_library target include_dir)
  add_library(${target} STATIC ${ARGN})
  target_include_directories(${target} PUBLIC ${include_dir} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC weir_flags)
endfunction()
