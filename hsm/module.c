/* The PKCS#11 module: exactly the configured one, never p11-kit's registry. p11-kit manages it, so that another user of
 * the same module in this process (GnuTLS) cannot finalise it under us; it initialises with CKF_OS_LOCKING_OK. */
#include <p11-kit/p11-kit.h>
#include <unistd.h>

#include "hsm/internal.h"

static enum err_code initialize(CK_FUNCTION_LIST *module, struct err *err)
{
	CK_RV rv = p11_kit_module_initialize(module);
	if (rv == CKR_OK)
		return ERR_OK;
	hsm_rv_fail(err, rv, "C_Initialize");
	if (err)
		err->code = ERR_UNAVAILABLE;
	return ERR_UNAVAILABLE;
}

enum err_code hsm_module_load(const char *path, CK_FUNCTION_LIST **ret, struct err *err)
{
	if (!path || path[0] != '/')
		return err_set(err, ERR_INVALID, 0, "the PKCS#11 module must be an absolute path");
	if (access(path, R_OK) != 0)
		return err_set(err, ERR_NOT_FOUND, 0, "%s: no readable PKCS#11 module", path);
	p11_kit_be_quiet();
	CK_FUNCTION_LIST *module = p11_kit_module_load(path, 0);
	if (!module)
		return err_set(err, ERR_NOT_FOUND, 0, "%s: not a PKCS#11 module: %s", path, p11_kit_message());
	enum err_code code = initialize(module, err);
	if (code != ERR_OK)
		p11_kit_module_release(module);
	else
		*ret = module;
	return code;
}

/* After an initialisation that failed there is nothing to finalise, and saying so does no harm. */
enum err_code hsm_module_restart(CK_FUNCTION_LIST *module, struct err *err)
{
	p11_kit_module_finalize(module);
	return initialize(module, err);
}

void hsm_module_unload(CK_FUNCTION_LIST *module)
{
	if (!module)
		return;
	p11_kit_module_finalize(module);
	p11_kit_module_release(module);
}
