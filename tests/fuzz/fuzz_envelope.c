/* room: transaction */
/* An envelope in either form: what parses comes back the same through both forms, and has its signatures looked at. */
#include <stdlib.h>

#include "common/pb.h"
#include "common/text.h"
#include "transaction/transaction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *ring(void)
{
	static const char spki_hex[] = "3059301306072a8648ce3d020106082a8648ce3d0301070342000404aaec73635726f213fb8a9e64da3"
	                               "b8632e41495a944d0045b522eba7240fad5"
	                               "87d9315798aaa3a5ba01775787ced05eaaf7b4e09fc81d6d1aa546e8365d525d";
	static struct keyring *ring;
	uint8_t spki[91];
	if (!ring) {
		ring = keyring_new();
		if (!text_unhex(spki_hex, spki, sizeof spki) ||
		    keyring_add_spki(ring, "key", span_of(spki, sizeof spki), 0, 0, NULL))
			abort();
	}
	return ring;
}

static void expect_same(const struct envelope *a, struct span form)
{
	struct envelope b;
	if (envelope_parse(form, &b, NULL) != ERR_OK || strcmp(a->type, b.type) != 0 ||
	    memcmp(a->digest, b.digest, sizeof b.digest) != 0 || a->n_signatures != b.n_signatures)
		abort();
	for (size_t i = 0; i < a->n_signatures; i++)
		if (strcmp(a->signatures[i].keyid, b.signatures[i].keyid) != 0 ||
		    !span_eq(buf_span(&a->signatures[i].sig), buf_span(&b.signatures[i].sig)))
			abort();
	envelope_done(&b);
}

/* The text of a keyid or type may grow sixfold when it is escaped, beyond what a verifier reads. */
#define READABLE (2 * TRANSACTION_ENVELOPE_MAX)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct envelope envelope;
	if (envelope_parse(span_of(data, size), &envelope, NULL) != ERR_OK)
		return 0;
	autobuf struct buf bytes = {0}, text = {0};
	struct envelope_view view;
	pb_pack(&envelope_to_pb(&envelope, &view)->base, &bytes);
	expect_same(&envelope, buf_span(&bytes));
	envelope_to_json(&envelope, &text);
	if (text.failed)
		abort();
	if (text.len <= READABLE)
		expect_same(&envelope, buf_span(&text));
	if (keyring_count_signers(ring(), &envelope, 0) > 1)
		abort();
	envelope_done(&envelope);
	return 0;
}
