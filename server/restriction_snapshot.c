#include "server/restriction_snapshot.h"

#include "common/pb.h"
#include "common/text.h"
#include "server/restriction_record.h"
#include "server/vouch.h"
#include "transaction/transaction.h"

#define TYPE      "application/vnd.twokey.restrictions.v1"
#define BYTES_MAX ((size_t)2 << 30)
#define PAGE      256

/* ---- writing ---- */

static void append_record(const Twokey__V1__Record *record, void *user)
{
	struct buf *out = (struct buf *)user;
	autobuf struct buf bytes = {0};
	pb_pack(&record->base, &bytes);
	buf_append_u32be(out, (uint32_t)bytes.len);
	buf_append(out, buf_span(&bytes));
}

static void append_change(struct buf *out, const struct restriction_change *change)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	Google__Protobuf__Timestamp expiry, time = transaction_timestamp(change->note.time_ms);
	restriction_to_record(change, &record, &expiry);
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	record.index = change->note.record;
	record.time = &time;
	record.identity = (char *)change->note.who;
	append_record(&record, out);
}

/* An empty list is one with a user who has no name. */
static void append_users(struct buf *out, struct restriction_change *change, const struct restriction_view *view)
{
	change->user = "";
	append_change(out, change);
	for (size_t i = 0; i < view->n_users; i++) {
		change->user = view->users[i];
		append_change(out, change);
	}
}

static void append_view(const struct restriction_view *view, void *user)
{
	static const enum restriction_action actions[] = {[RESTRICTION_REVOKED] = RESTRICT_REVOKE,
	                                                  [RESTRICTION_EXPIRY] = RESTRICT_SET_EXPIRY,
	                                                  [RESTRICTION_USERS] = RESTRICT_ADD_USER,
	                                                  [RESTRICTION_LOCKDOWN] = RESTRICT_LOCKDOWN};
	struct restriction_change change = {
	    .scope = view->scope,
	    .action = actions[view->kind],
	    .bucket = view->bucket,
	    .name = view->name,
	    .expires_ms = view->expires_ms,
	    .note = view->note,
	};
	if (view->transaction_id)
		memcpy(change.transaction_id, view->transaction_id, sizeof change.transaction_id);
	if (view->kind == RESTRICTION_USERS)
		append_users((struct buf *)user, &change, view);
	else
		append_change((struct buf *)user, &change);
}

void restriction_snapshot_body(struct restrictions *restrictions, struct keys *keys,
                               const struct audit_position *position, struct buf *out)
{
	out->max = BYTES_MAX;
	buf_append_u64be(out, position->next);
	buf_append(out, span_of(position->chain, sizeof position->chain));
	size_t cursor = 0;
	while (restrictions_page(restrictions, &cursor, PAGE, append_view, out))
		;
	keys_facts(keys, append_record, out);
}

enum err_code restriction_snapshot_write(const char *directory, struct span body, struct hsm_key *key, struct err *err)
{
	autobuf struct buf envelope = {0}, file = {.max = BYTES_MAX};
	uint8_t sha256[32];
	text_sha256(body, sha256);
	enum err_code code = vouch_sign(key, TYPE, sha256, &envelope, err);
	if (code != ERR_OK)
		return code;
	buf_append_u32be(&file, (uint32_t)envelope.len);
	buf_append(&file, buf_span(&envelope));
	buf_append(&file, body);
	if (file.failed)
		return err_set(err, ERR_EXHAUSTED, 0, "the snapshot is too large");
	autofree char *path = xasprintf("%s/" RESTRICTION_SNAPSHOT_FILE, directory);
	return text_write_file(path, buf_span(&file), 0600, err);
}

/* ---- reading ---- */

static bool take(struct span *from, size_t len, struct span *ret)
{
	if (len > from->len)
		return false;
	*ret = span_of(from->ptr, len);
	*from = span_of(from->ptr + len, from->len - len);
	return true;
}

static bool take_u32(struct span *from, uint32_t *ret)
{
	struct span bytes;
	if (!take(from, 4, &bytes))
		return false;
	*ret = (uint32_t)bytes.ptr[0] << 24 | (uint32_t)bytes.ptr[1] << 16 | (uint32_t)bytes.ptr[2] << 8 | bytes.ptr[3];
	return true;
}

static bool take_sized(struct span *from, struct span *ret)
{
	uint32_t len;
	return take_u32(from, &len) && take(from, len, ret);
}

static enum err_code check_signature(struct span envelope, struct span body, struct keys *keys, struct err *err)
{
	uint8_t sha256[32];
	text_sha256(body, sha256);
	return vouch_verify(keys, TYPE, sha256, envelope, err);
}

static bool restore_record(struct restrictions *restrictions, struct keys *keys, struct span bytes)
{
	struct restriction_change change;
	Twokey__V1__Record *record = twokey__v1__record__unpack(NULL, bytes.len, bytes.ptr);
	bool good = record && restriction_from_record(record, &change);
	if (good)
		restrictions_restore(restrictions, &change);
	if (record && record->event == TWOKEY__V1__EVENT__EVENT_KEY) {
		keys_apply(keys, record);
		good = true;
	}
	if (record)
		twokey__v1__record__free_unpacked(record, NULL);
	return good;
}

static enum err_code restore(struct restrictions *restrictions, struct keys *keys, struct span body,
                             struct audit_position *ret, struct err *err)
{
	struct span number, chain, record;
	if (!take(&body, 8, &number) || !take(&body, sizeof ret->chain, &chain))
		return err_set(err, ERR_CORRUPT, 0, "it is cut short");
	ret->next = 0;
	for (size_t i = 0; i < number.len; i++)
		ret->next = ret->next << 8 | number.ptr[i];
	memcpy(ret->chain, chain.ptr, sizeof ret->chain);
	while (body.len)
		if (!take_sized(&body, &record) || !restore_record(restrictions, keys, record))
			return err_set(err, ERR_CORRUPT, 0, "a record in it does not parse");
	return ERR_OK;
}

enum err_code restriction_snapshot_read(const char *directory, struct keys *keys, struct restrictions *restrictions,
                                        struct audit_position *ret, struct err *err)
{
	autofree char *path = xasprintf("%s/" RESTRICTION_SNAPSHOT_FILE, directory);
	autobuf struct buf file = {.max = BYTES_MAX};
	enum err_code code = text_read_file(path, BYTES_MAX, &file, err);
	if (code != ERR_OK)
		return code;
	struct span rest = buf_span(&file), envelope;
	code = take_sized(&rest, &envelope) ? check_signature(envelope, rest, keys, err)
	                                    : err_set(err, ERR_CORRUPT, 0, "it is cut short");
	if (code == ERR_OK)
		code = restore(restrictions, keys, rest, ret, err);
	if (code != ERR_OK)
		err_prefix(err, "%s", path);
	return code == ERR_OK ? ERR_OK : ERR_CORRUPT;
}
