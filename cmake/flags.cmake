# Warnings are errors everywhere; hardening as the OpenSSF compiler guide has it, in so far as gcc 12 and clang 14 know it.
add_compile_options(
	-Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef
	-Wformat=2 -Wconversion -Wno-sign-conversion
	-fno-strict-aliasing -fno-strict-overflow -fno-delete-null-pointer-checks)
add_compile_definitions(_GNU_SOURCE TWOKEY_VERSION="${PROJECT_VERSION}")
include_directories(${CMAKE_SOURCE_DIR})

if(TWOKEY_SANITIZE)
	add_compile_options(-fsanitize=${TWOKEY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
	add_link_options(-fsanitize=${TWOKEY_SANITIZE})
else()
	add_compile_options(-fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero)
	if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
		add_compile_options(-fcf-protection=full)
	endif()
	if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
		add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
	endif()
	add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
endif()
include(CheckPIESupported)
check_pie_supported()
