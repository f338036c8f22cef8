# The public contract, compiled: C structs by protoc-c, and one descriptor set for reflection.
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)

set(PROTO_DIR ${CMAKE_SOURCE_DIR}/proto)
set(PROTO_OUT ${CMAKE_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${PROTO_OUT})
file(GLOB_RECURSE PROTO_FILES RELATIVE ${PROTO_DIR} CONFIGURE_DEPENDS ${PROTO_DIR}/*.proto)
# protoc-c writes the well-known types that we use as well.
set(PROTO_KNOWN google/protobuf/timestamp.proto google/protobuf/any.proto)

set(PROTO_C)
foreach(file IN LISTS PROTO_FILES PROTO_KNOWN)
	string(REGEX REPLACE "\\.proto$" ".pb-c" stem ${file})
	if(file IN_LIST PROTO_KNOWN)
		set(source /usr/include/${file})
	else()
		set(source ${PROTO_DIR}/${file})
	endif()
	add_custom_command(
		OUTPUT ${PROTO_OUT}/${stem}.c ${PROTO_OUT}/${stem}.h
		COMMAND ${PROTOC_C} -I ${PROTO_DIR} -I /usr/include --c_out=${PROTO_OUT} ${source}
		DEPENDS ${source}
		VERBATIM)
	list(APPEND PROTO_C ${PROTO_OUT}/${stem}.c ${PROTO_OUT}/${stem}.h)
endforeach()

list(TRANSFORM PROTO_FILES PREPEND ${PROTO_DIR}/ OUTPUT_VARIABLE PROTO_PATHS)
add_custom_command(
	OUTPUT ${PROTO_OUT}/descriptors.c
	COMMAND ${PROTOC} -I ${PROTO_DIR} -I /usr/include --include_imports --descriptor_set_out=${PROTO_OUT}/descriptors.bin ${PROTO_PATHS}
	COMMAND python3 ${CMAKE_SOURCE_DIR}/cmake/embed.py ${PROTO_OUT}/descriptors.bin proto_descriptors ${PROTO_OUT}/descriptors.c
	DEPENDS ${PROTO_PATHS} ${CMAKE_SOURCE_DIR}/cmake/embed.py
	VERBATIM)

add_library(twokey_proto STATIC ${PROTO_C} ${PROTO_OUT}/descriptors.c)
target_include_directories(twokey_proto SYSTEM PUBLIC ${PROTO_OUT})
target_include_directories(twokey_proto PUBLIC ${CMAKE_SOURCE_DIR})
target_compile_options(twokey_proto PRIVATE -w)
target_link_libraries(twokey_proto PUBLIC ${PROTOBUFC_DEPS})
