# Every dependency is a Debian 12 package: packages/debian.txt lists them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(twokey_pkg out module)
	pkg_check_modules(${out}_PKG REQUIRED IMPORTED_TARGET GLOBAL ${module})
	set(${out} PkgConfig::${out}_PKG PARENT_SCOPE)
endfunction()

twokey_pkg(CRYPTO_DEPS libcrypto)
twokey_pkg(YAML_DEPS yaml-0.1)
twokey_pkg(PROTOBUFC_DEPS libprotobuf-c)
twokey_pkg(P11KIT_DEPS p11-kit-1)
twokey_pkg(SQLITE_DEPS sqlite3)
twokey_pkg(ZLIB_DEPS zlib)
twokey_pkg(CURL_DEPS libcurl)
twokey_pkg(EXPAT_DEPS expat)
twokey_pkg(JANSSON_DEPS jansson)
twokey_pkg(GRPC_DEPS grpc)
