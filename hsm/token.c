/* Which slot has our token? */
#include <stdlib.h>

#include "hsm/internal.h"

#define SLOTS_MAX 256

/* PKCS#11 pads its texts with blanks. */
static void copy_text(const uint8_t *from, size_t len, char *to)
{
	while (len > 0 && (from[len - 1] == ' ' || from[len - 1] == 0))
		len--;
	memcpy(to, from, len);
	to[len] = 0;
}

static void keep_info(struct hsm *hsm, const CK_TOKEN_INFO *info)
{
	copy_text(info->label, sizeof info->label, hsm->info.label);
	copy_text(info->manufacturerID, sizeof info->manufacturerID, hsm->info.manufacturer);
	copy_text(info->model, sizeof info->model, hsm->info.model);
	copy_text(info->serialNumber, sizeof info->serialNumber, hsm->info.serial);
}

/* The smaller of the two limits that a token states; 0 means none, as CK_EFFECTIVELY_INFINITE does. */
static CK_ULONG session_limit(const CK_TOKEN_INFO *info)
{
	CK_ULONG all = info->ulMaxSessionCount, rw = info->ulMaxRwSessionCount;
	if (all == CK_UNAVAILABLE_INFORMATION)
		all = 0;
	if (rw == CK_UNAVAILABLE_INFORMATION)
		rw = 0;
	return all == 0 || (rw != 0 && rw < all) ? rw : all;
}

enum err_code hsm_token_find(struct hsm *hsm, CK_ULONG *ret_max_sessions, struct err *err)
{
	struct hsm_uri *uri = NULL;
	enum err_code code = hsm_uri_parse_token(hsm->token_uri, &uri, err);
	if (code != ERR_OK)
		return code;
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG n = SLOTS_MAX;
	CK_RV rv = hsm->module->C_GetSlotList(CK_TRUE, slots, &n);
	if (rv != CKR_OK) {
		hsm_uri_free(uri);
		return hsm_rv_fail(err, rv, "C_GetSlotList");
	}
	unsigned found = 0;
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		/* A broken token beside ours is not our trouble. */
		if (hsm->module->C_GetTokenInfo(slots[i], &info) != CKR_OK || !hsm_uri_matches(uri, slots[i], &info))
			continue;
		found++;
		hsm->slot = slots[i];
		keep_info(hsm, &info);
		*ret_max_sessions = session_limit(&info);
	}
	hsm_uri_free(uri);
	if (found == 0)
		return err_set(err, ERR_NOT_FOUND, 0, "%s: the module has no such token", hsm->token_uri);
	if (found > 1)
		return err_set(err, ERR_INVALID, 0, "%s: names %u tokens, must name one", hsm->token_uri, found);
	return ERR_OK;
}

void hsm_token_info(const struct hsm *hsm, struct hsm_token_info *ret)
{
	*ret = hsm->info;
}
