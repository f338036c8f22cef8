#include "server/witness.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/pb.h"
#include "common/text.h"
#include "server/checkpoints.h"

#define KEYS_MAX       16
#define PEM_MAX        ((size_t)64 << 10)
#define CALL_MS        10000
#define ADD_CHECKPOINT "/twokey.v1.Witness/AddCheckpoint"

struct witness {
	struct deployment *deployment;
	struct audit_verifier *keys[KEYS_MAX]; /* the other party's */
	size_t n_keys;
	pthread_mutex_t adding; /* one checkpoint at a time is witnessed */

	/* Asking; NULL when the other party has no server that we know. */
	struct rpc_client *client;
	pthread_t thread;
	bool runs;
	pthread_mutex_t lock;
	pthread_cond_t stopping;
	/* Under the lock. */
	bool stop;
	uint64_t size;   /* of the last checkpoint that it cosigned */
	struct buf note; /* "" */
	struct err trouble;
};

/* ---- as a witness ---- */

enum err_code witness_add(struct witness *witness, struct span note, uint64_t old_size, const struct audit_proof *proof,
                          struct audit_witness_answer *ret, struct err *err)
{
	if (!witness)
		return err_set(err, ERR_NOT_FOUND, 0, "nothing is witnessed here: there is no `witness` in the configuration");
	const struct config *config = witness->deployment->config;
	const struct audit_witness_options options = {
	    .directory = config->ledger.directory,
	    .keys = witness->keys,
	    .n_keys = witness->n_keys,
	    .signer = {.origin = config->ledger.origin, .sign = checkpoints_sign, .user = witness->deployment},
	};
	pthread_mutex_lock(&witness->adding);
	enum err_code code = audit_witness_add(&options, note, old_size, proof, ret, err);
	pthread_mutex_unlock(&witness->adding);
	return code;
}

/* ---- asking for cosignatures ---- */

static char *kept_path(const struct witness *witness)
{
	return xasprintf("%s/" AUDIT_WITNESSED_FILE, witness->deployment->config->ledger.directory);
}

static void set_trouble(struct witness *witness, const struct err *err)
{
	pthread_mutex_lock(&witness->lock);
	bool changed = strcmp(witness->trouble.text, err->text) != 0;
	bool was = witness->trouble.code != ERR_OK;
	witness->trouble = *err;
	pthread_mutex_unlock(&witness->lock);
	if (changed && err->code != ERR_OK)
		log_event(LOG_WARN, "checkpoints are not witnessed", "error", err->text, NULL);
	else if (was && err->code == ERR_OK)
		log_event(LOG_INFO, "checkpoints are witnessed again", NULL);
}

static enum err_code call(struct witness *witness, const Twokey__V1__AddCheckpointRequest *request,
                          Twokey__V1__AddCheckpointResponse **ret, struct err *err)
{
	autobuf struct buf bytes = {0}, answer = {0};
	struct rpc_status status = {0};
	pb_pack(&request->base, &bytes);
	enum err_code code = rpc_unary(witness->client, ADD_CHECKPOINT, buf_span(&bytes), clock_now_ms(NULL) + CALL_MS,
	                               &answer, &status, err);
	if (code == ERR_OK && status.code != ERR_OK)
		code = err_set(err, status.code, 0, "the witness answers %s", status.message ? status.message : "no");
	rpc_status_done(&status);
	if (code != ERR_OK)
		return code;
	*ret = twokey__v1__add_checkpoint_response__unpack(NULL, answer.len, answer.data);
	return *ret ? ERR_OK : err_set(err, ERR_INVALID, 0, "the witness answers something else");
}

static enum err_code keep(struct witness *witness, uint64_t size, struct span note, const char *cosignature,
                          struct err *err)
{
	autofree char *path = kept_path(witness);
	autobuf struct buf joined = {0};
	enum err_code code = audit_witness_join(note, span_str(cosignature), witness->keys, witness->n_keys, &joined, err);
	if (code == ERR_OK)
		code = text_write_file(path, buf_span(&joined), 0600, err);
	if (code != ERR_OK)
		return code;
	pthread_mutex_lock(&witness->lock);
	witness->size = size;
	buf_clear(&witness->note);
	buf_append(&witness->note, buf_span(&joined));
	pthread_mutex_unlock(&witness->lock);
	return ERR_OK;
}

/* One attempt from `*old_size` on. *ret_again: the witness knows another one, which stands there now. */
static enum err_code attempt(struct witness *witness, const struct audit_checkpoint *checkpoint, struct span note,
                             uint64_t *old_size, bool *ret_again, struct err *err)
{
	struct audit_proof proof = {.n = 0};
	ProtobufCBinaryData hashes[AUDIT_PROOF_MAX];
	Twokey__V1__AddCheckpointRequest request = TWOKEY__V1__ADD_CHECKPOINT_REQUEST__INIT;
	Twokey__V1__AddCheckpointResponse *answer = NULL;
	enum err_code code = ERR_OK;
	if (*old_size)
		code = audit_tree_consistency(witness->deployment->tree, *old_size, checkpoint->size, &proof, err);
	if (code != ERR_OK)
		return code;
	for (size_t i = 0; i < proof.n; i++)
		hashes[i] = (ProtobufCBinaryData){AUDIT_HASH_BYTES, proof.hashes[i].bytes};
	autofree char *text = xstrndup((const char *)note.ptr, note.len);
	request.checkpoint = text;
	request.old_size = *old_size;
	request.n_proof = proof.n;
	request.proof = hashes;
	code = call(witness, &request, &answer, err);
	if (code != ERR_OK)
		return code;
	*ret_again = answer->conflict && answer->size <= checkpoint->size;
	if (answer->conflict && answer->size > checkpoint->size)
		code =
		    err_set(err, ERR_CORRUPT, 0,
		            "the witness has seen a checkpoint of %llu records, and this log has one of %llu: it lost its tail",
		            (unsigned long long)answer->size, (unsigned long long)checkpoint->size);
	else if (answer->conflict)
		*old_size = answer->size;
	else
		code = keep(witness, checkpoint->size, note, answer->cosignature, err);
	twokey__v1__add_checkpoint_response__free_unpacked(answer, NULL);
	return code;
}

static enum err_code ask(struct witness *witness, struct err *err)
{
	autobuf struct buf note = {0};
	struct audit_checkpoint checkpoint;
	enum err_code code = audit_tree_checkpoint(witness->deployment->tree, 0, 0, &note, err);
	if (code == ERR_NOT_FOUND)
		return ERR_OK;
	if (code == ERR_OK)
		code = audit_checkpoint_parse(buf_span(&note), &checkpoint, err);
	if (code != ERR_OK)
		return code;
	pthread_mutex_lock(&witness->lock);
	uint64_t old_size = witness->size;
	pthread_mutex_unlock(&witness->lock);
	bool again = old_size != checkpoint.size;
	for (int i = 0; i < 3 && again && code == ERR_OK; i++)
		code = attempt(witness, &checkpoint, buf_span(&note), &old_size, &again, err);
	return code;
}

static void *run(void *user)
{
	struct witness *witness = (struct witness *)user;
	pthread_mutex_lock(&witness->lock);
	while (!witness->stop) {
		pthread_mutex_unlock(&witness->lock);
		struct err err = {0};
		struct timespec until;
		if (ask(witness, &err) == ERR_OK)
			err = (struct err){0};
		set_trouble(witness, &err);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += (time_t)witness->deployment->config->witness.interval;
		pthread_mutex_lock(&witness->lock);
		if (!witness->stop)
			pthread_cond_timedwait(&witness->stopping, &witness->lock, &until);
	}
	pthread_mutex_unlock(&witness->lock);
	return NULL;
}

uint64_t witness_state(struct witness *witness, struct buf *ret_note, struct err *ret_trouble)
{
	if (!witness)
		return 0;
	pthread_mutex_lock(&witness->lock);
	uint64_t size = witness->size;
	buf_append(ret_note, buf_span(&witness->note));
	*ret_trouble = witness->trouble;
	pthread_mutex_unlock(&witness->lock);
	return size;
}

/* ---- opening ---- */

static enum err_code add_keys(struct witness *witness, const struct config *config, struct err *err)
{
	const struct yaml_strings *paths = &config->witness.public_keys;
	if (paths->n == 0 || paths->n > KEYS_MAX)
		return err_set(err, ERR_INVALID, 0, "`witness.public_keys`: 1 to %d of them", KEYS_MAX);
	for (size_t i = 0; i < paths->n; i++) {
		autobuf struct buf pem = {0};
		enum err_code code = text_read_file(paths->items[i], PEM_MAX, &pem, err);
		if (code == ERR_OK)
			code = audit_verifier_from_pem(config->witness.origin, buf_span(&pem), &witness->keys[i], err);
		if (code != ERR_OK) {
			err_prefix(err, "%s", paths->items[i]);
			return code;
		}
		witness->n_keys++;
	}
	return ERR_OK;
}

/* What was cosigned before; it only saves a question. */
static void recall(struct witness *witness)
{
	autofree char *path = kept_path(witness);
	struct audit_checkpoint checkpoint;
	if (text_read_file(path, AUDIT_NOTE_MAX, &witness->note, NULL) == ERR_OK &&
	    audit_checkpoint_parse(buf_span(&witness->note), &checkpoint, NULL) == ERR_OK)
		witness->size = checkpoint.size;
	else
		buf_clear(&witness->note);
}

static enum err_code start_asking(struct witness *witness, const struct config *config, struct err *err)
{
	const struct rpc_client_options options = {.target = config->witness.server,
	                                           .ca = config->witness.ca,
	                                           .certificate = config->witness.certificate,
	                                           .key = config->witness.key};
	recall(witness);
	enum err_code code = rpc_client_new(&options, &witness->client, err);
	if (code != ERR_OK)
		return code;
	witness->runs = pthread_create(&witness->thread, NULL, run, witness) == 0;
	return witness->runs ? ERR_OK : err_set(err, ERR_UNAVAILABLE, 0, "no thread for the witness");
}

enum err_code witness_open(struct deployment *deployment, struct witness **ret, struct err *err)
{
	const struct config *config = deployment->config;
	*ret = NULL;
	if (!config->witness.origin)
		return ERR_OK;
	struct witness *witness = xcalloc(1, sizeof *witness);
	pthread_condattr_t monotonic;
	witness->deployment = deployment;
	pthread_mutex_init(&witness->adding, NULL);
	pthread_mutex_init(&witness->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&witness->stopping, &monotonic);
	pthread_condattr_destroy(&monotonic);
	enum err_code code = add_keys(witness, config, err);
	if (code == ERR_OK && config->witness.server)
		code = start_asking(witness, config, err);
	if (code != ERR_OK) {
		err_prefix(err, "witness");
		witness_close(witness);
		return code;
	}
	*ret = witness;
	return ERR_OK;
}

void witness_close(struct witness *witness)
{
	if (!witness)
		return;
	pthread_mutex_lock(&witness->lock);
	witness->stop = true;
	pthread_cond_signal(&witness->stopping);
	pthread_mutex_unlock(&witness->lock);
	if (witness->runs)
		pthread_join(witness->thread, NULL);
	rpc_client_free(witness->client);
	for (size_t i = 0; i < witness->n_keys; i++)
		audit_verifier_free(witness->keys[i]);
	buf_done(&witness->note);
	pthread_cond_destroy(&witness->stopping);
	pthread_mutex_destroy(&witness->lock);
	pthread_mutex_destroy(&witness->adding);
	free(witness);
}
