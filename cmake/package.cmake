# What `cmake --install` puts where, and the Debian package: `cpack --config build/release/CPackConfig.cmake`.
include(GNUInstallDirs)

# twokey_gzip(IN NAME DESTINATION): installs a file as NAME.gz, as Debian wants it.
function(twokey_gzip in name destination)
	set(out ${CMAKE_BINARY_DIR}/${name}.gz)
	add_custom_command(OUTPUT ${out} COMMAND gzip -9nc ${in} > ${out} DEPENDS ${in} VERBATIM)
	add_custom_target(gzip-${name} ALL DEPENDS ${out})
	install(FILES ${out} DESTINATION ${destination})
endfunction()

# twokey_manual_page(PAGE NAME WHAT): NAME(5) from docs/PAGE.md.
function(twokey_manual_page page name what)
	set(out ${CMAKE_BINARY_DIR}/${name}.5)
	add_custom_command(OUTPUT ${out} COMMAND ${CMAKE_SOURCE_DIR}/tools/manual-page.sh
	                   ${CMAKE_SOURCE_DIR}/docs/${page}.md ${name} ${what} > ${out}
	                   DEPENDS ${CMAKE_SOURCE_DIR}/docs/${page}.md ${CMAKE_SOURCE_DIR}/tools/manual-page.sh VERBATIM)
	twokey_gzip(${out} ${name}.5 ${CMAKE_INSTALL_MANDIR}/man5)
endfunction()

install(TARGETS twokey)
twokey_gzip(${CMAKE_SOURCE_DIR}/docs/man/twokey.1 twokey.1 ${CMAKE_INSTALL_MANDIR}/man1)
twokey_manual_page(CONFIGURATION twokey.yaml "configuration of a twokey deployment")
twokey_manual_page(RULES twokey-rules "rules of a twokey gatekeeper")
install(FILES packages/twokey.bash-completion RENAME twokey DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
# Where systemd looks, whatever the prefix.
install(FILES packages/systemd/twokey@.service DESTINATION lib/systemd/system)
install(FILES packages/systemd/sysusers.conf RENAME twokey.conf DESTINATION lib/sysusers.d)
install(FILES packages/systemd/tmpfiles.conf RENAME twokey.conf DESTINATION lib/tmpfiles.d)
install(FILES README.md CHANGELOG.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packages/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
string(TIMESTAMP CHANGELOG_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(packages/debian/changelog.in ${CMAKE_BINARY_DIR}/changelog @ONLY)
twokey_gzip(${CMAKE_BINARY_DIR}/changelog changelog ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md"
        PATTERN man EXCLUDE)
install(FILES policy/rules.example.yaml packages/vendor.example.yaml packages/gatekeeper.example.yaml
        DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "twokey <security@twokey.example>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "guards an S3 bucket with two keys")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"The vendor's deployment signs a transaction, the customer's gatekeeper checks
its own rules, co-signs, and is the only path by which bytes move. Every key
stays in a PKCS#11 token, and every decision is on record.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "ca-certificates, tzdata, systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "softhsm2")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packages/debian/postinst
    ${CMAKE_SOURCE_DIR}/packages/debian/prerm ${CMAKE_SOURCE_DIR}/packages/debian/postrm)
include(CPack)
