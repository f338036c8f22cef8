/* A witness: remembers the last checkpoint of another log, and signs only what continues it. */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "audit/merkle.h"
#include "audit/proof.h"
#include "common/text.h"

static char *kept_path(const struct audit_witness_options *options)
{
	uint8_t digest[32];
	char hex[33];
	text_sha256(span_str(audit_verifier_name(options->keys[0])), digest);
	text_hex(span_of(digest, 16), hex);
	return xasprintf("%s/witness/%s", options->directory, hex);
}

/* *ret is zeroed when none was seen yet; borrows from note. */
static enum err_code read_kept(const char *path, struct buf *note, struct audit_checkpoint *ret, struct err *err)
{
	*ret = (struct audit_checkpoint){0};
	enum err_code code = text_read_file(path, AUDIT_NOTE_MAX, note, err);
	if (code == ERR_NOT_FOUND)
		return ERR_OK;
	if (code == ERR_OK && audit_checkpoint_parse(buf_span(note), ret, err) != ERR_OK)
		code = ERR_UNAVAILABLE;
	if (code != ERR_OK)
		err_prefix(err, "%s", path);
	return code;
}

static enum err_code check_signed(const struct audit_witness_options *options,
                                  const struct audit_checkpoint *checkpoint, struct err *err)
{
	bool good = false, bad = false;
	if (strcmp(checkpoint->origin, audit_verifier_name(options->keys[0])) != 0)
		return err_set(err, ERR_NOT_FOUND, 0, "checkpoints of %s are not witnessed here", checkpoint->origin);
	for (size_t i = 0; i < options->n_keys; i++) {
		enum audit_signed answer = audit_checkpoint_signed(checkpoint, options->keys[i]);
		good |= answer == AUDIT_SIGNED_GOOD;
		bad |= answer == AUDIT_SIGNED_BAD;
	}
	return good && !bad ? ERR_OK : err_set(err, ERR_UNAUTHENTICATED, 0, "the checkpoint is not signed by its log");
}

static bool continues(const struct audit_checkpoint *old, const struct audit_checkpoint *next,
                      const struct audit_proof *proof)
{
	struct audit_hasher *hasher = audit_hasher_new();
	struct audit_frontier empty = {0};
	struct audit_hash root;
	bool good;
	audit_frontier_root(&empty, hasher, &root);
	if (old->size == 0)
		good = proof->n == 0 && (next->size > 0 || audit_hash_eq(&root, &next->root));
	else
		good = audit_merkle_check_consistency(hasher, old->size, next->size, &old->root, &next->root, proof);
	audit_hasher_free(hasher);
	return good;
}

/* Durable before the signature leaves. */
static enum err_code sign_and_keep(const struct audit_witness_options *options, const char *path, struct span note,
                                   const struct audit_checkpoint *checkpoint, struct buf *ret_line, struct err *err)
{
	autofree char *folder = xasprintf("%s/witness", options->directory);
	autobuf struct buf signature = {0}, spki = {0}, line = {0}, kept = {0};
	uint8_t digest[32];
	text_sha256(checkpoint->text, digest);
	enum err_code code = options->signer.sign(options->signer.user, digest, &signature, &spki, err);
	if (code != ERR_OK)
		return code;
	audit_note_signature(options->signer.origin, buf_span(&spki), buf_span(&signature), &line);
	buf_append(&kept, note);
	buf_append(&kept, buf_span(&line));
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", folder, strerror(errno));
	code = text_write_file(path, buf_span(&kept), 0600, err);
	if (code == ERR_OK)
		buf_append(ret_line, buf_span(&line));
	return code;
}

enum err_code audit_witness_add(const struct audit_witness_options *options, struct span note, uint64_t old_size,
                                const struct audit_proof *proof, struct audit_witness_answer *ret, struct err *err)
{
	autofree char *path = kept_path(options);
	autobuf struct buf kept = {0};
	struct audit_checkpoint old, next;
	struct audit_witness_answer answer = {0};
	enum err_code code = audit_checkpoint_parse(note, &next, err);
	if (code == ERR_OK)
		code = check_signed(options, &next, err);
	if (code == ERR_OK)
		code = read_kept(path, &kept, &old, err);
	if (code != ERR_OK)
		return code;
	answer.size = old.size;
	answer.conflict = old_size != old.size;
	if (!answer.conflict && next.size < old_size)
		return err_set(err, ERR_INVALID, 0, "the checkpoint is older than the one it should continue");
	if (!answer.conflict && !continues(&old, &next, proof))
		return err_set(err, ERR_CORRUPT, 0,
		               "a checkpoint of %s, of %" PRIu64 " records, does not continue the one of %" PRIu64, next.origin,
		               next.size, old.size);
	if (!answer.conflict)
		code = sign_and_keep(options, path, note, &next, &answer.cosignature, err);
	if (code == ERR_OK)
		*ret = answer;
	return code;
}

enum err_code audit_witness_join(struct span note, struct span cosignature, struct audit_verifier *const *witness,
                                 size_t n_witness, struct buf *ret, struct err *err)
{
	autobuf struct buf joined = {0};
	struct audit_checkpoint checkpoint;
	bool good = false;
	buf_append(&joined, note);
	buf_append(&joined, cosignature);
	if (audit_checkpoint_parse(buf_span(&joined), &checkpoint, err) != ERR_OK)
		return ERR_CORRUPT;
	for (size_t i = 0; i < n_witness; i++)
		good |= audit_checkpoint_signed(&checkpoint, witness[i]) == AUDIT_SIGNED_GOOD;
	if (!good)
		return err_set(err, ERR_CORRUPT, 0, "the witness's cosignature does not hold");
	buf_append(ret, buf_span(&joined));
	return ERR_OK;
}
