#include "server/vendors.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/text.h"

#define KEY_FILE_MAX 65536

struct vendors {
	_Atomic(struct vendor_keys *) now; /* and, behind it, all that were before */
};

void vendors_drop(struct vendor_keys *vendor_keys)
{
	if (!vendor_keys)
		return;
	keyring_free(vendor_keys->ring);
	free(vendor_keys->text);
	free(vendor_keys);
}

void vendors_free(struct vendors *vendors)
{
	struct vendor_keys *vendor_keys = vendors ? atomic_load(&vendors->now) : NULL;
	while (vendor_keys) {
		struct vendor_keys *older = vendor_keys->older;
		vendors_drop(vendor_keys);
		vendor_keys = older;
	}
	free(vendors);
}

const struct vendor_keys *vendors_now(const struct vendors *vendors)
{
	return atomic_load(&vendors->now);
}

void vendors_put(struct vendors *vendors, struct vendor_keys *vendor_keys)
{
	vendor_keys->older = atomic_load(&vendors->now);
	atomic_store(&vendors->now, vendor_keys);
}

bool vendors_differ(const struct vendor_keys *a, const struct vendor_keys *b)
{
	return strcmp(a->text, b->text) != 0;
}

/* ---- reading ---- */

static enum err_code add(struct keyring *ring, const struct config_vendor_key *key, struct err *err)
{
	autobuf struct buf pem = {0};
	enum err_code code = text_read_file(key->public_key, KEY_FILE_MAX, &pem, err);
	if (code == ERR_OK)
		code = keyring_add_pem(ring, key->name, buf_span(&pem), key->not_before, key->not_after, err);
	if (code != ERR_OK)
		err_prefix(err, "vendor key %s", key->name);
	return code;
}

static enum err_code read_keys(const struct config *config, struct vendor_keys **ret, struct err *err)
{
	struct vendor_keys *vendor_keys = xcalloc(1, sizeof *vendor_keys);
	vendor_keys->ring = keyring_new();
	for (size_t i = 0; i < config->vendor_keys.n; i++) {
		enum err_code code = add(vendor_keys->ring, config_vendor_key(config, i), err);
		if (code != ERR_OK) {
			vendors_drop(vendor_keys);
			return code;
		}
	}
	autobuf struct buf text = {0};
	keyring_describe(vendor_keys->ring, &text);
	vendor_keys->text = xstrdup(buf_cstr(&text));
	*ret = vendor_keys;
	return ERR_OK;
}

enum err_code vendors_read(const char *config_path, struct vendor_keys **ret, struct err *err)
{
	struct config config;
	enum err_code code = config_load(config_path, &config, err);
	if (code == ERR_OK && config.role != CONFIG_GATEKEEPER)
		code = err_set(err, ERR_INVALID, 0, "%s: is not a gatekeeper's any more", config_path);
	if (code == ERR_OK)
		code = read_keys(&config, ret, err);
	config_done(&config);
	return code;
}

struct own_keys {
	const struct keyring *ring;
	bool found;
};

static void look_for_own_key(const struct key_view *view, void *user)
{
	struct own_keys *own = (struct own_keys *)user;
	own->found |= view->role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION && view->key &&
	              keyring_has_spki(own->ring, hsm_key_spki(view->key));
}

enum err_code vendors_check(const struct vendor_keys *vendor_keys, struct keys *keys, struct err *err)
{
	struct own_keys own = {.ring = vendor_keys->ring};
	keys_each(keys, look_for_own_key, &own);
	return own.found
	           ? err_set(err, ERR_INVALID, 0,
	                     "one of vendor_keys is this gatekeeper's own transaction key: two signatures need two keys")
	           : ERR_OK;
}

enum err_code vendors_open(const struct config *config, struct keys *keys, struct vendors **ret, struct err *err)
{
	struct vendor_keys *vendor_keys = NULL;
	enum err_code code = read_keys(config, &vendor_keys, err);
	if (code == ERR_OK)
		code = vendors_check(vendor_keys, keys, err);
	if (code != ERR_OK) {
		vendors_drop(vendor_keys);
		return code;
	}
	*ret = xcalloc(1, sizeof **ret);
	vendors_put(*ret, vendor_keys);
	return ERR_OK;
}
