/* One call while it is decided on: what came in, what was found out, and the record that says how it ended. Belongs to
 * the call's thread. */
#ifndef TWOKEY_SERVER_REQUEST_H
#define TWOKEY_SERVER_REQUEST_H

#include "seal/seal.h"
#include "server/deployment.h"

struct request {
	struct deployment *deployment;
	struct rpc_call *call;
	Twokey__V1__Event event;
	int64_t started_us; /* monotonic */
	int64_t looked_us;  /* "": restrictions were last looked at */

	bool has_address;
	struct ip_addr address;
	char address_text[IP_TEXT_MAX];
	const struct rpc_identity *identity; /* NULL: no client certificate */
	const struct config_caller *caller;  /* whose certificate that is, as far as the method asks; NULL: nobody's */

	struct envelope envelope;
	const Twokey__V1__HolderProof *proof; /* borrowed from the request message */
	Twokey__V1__Operation operation;      /* what the method performs; UNSPECIFIED: any */
	Twokey__V1__Transaction *transaction; /* owned */
	bool has_id_token;                    /* that proves the transaction's subject */
	bool unverified;                   /* the transaction's fields come from an envelope whose signature did not hold */
	const char *vendor_key;            /* name of the key that signed first; NULL until verified */
	const struct rules_version *rules; /* held from the first look at them on */
	unsigned presign_s;                /* what the rule that decided says; 0: no URLs */
	const char *rule;                  /* that decided; NULL until then; belongs to `rules` */
	char country[3];                   /* of the address, when the rules were asked; "" when unknown */
	const char *why, *about;           /* for the record: what an auditor says and asks; NULL: nothing. Borrowed */
	const struct bucket *bucket;
	struct policy_limit vendor_key_limit, user_limit; /* of the rules that decided */

	unsigned trust_seen;                  /* the generation of the trust that the certificate was verified by */
	struct restricting_view restrictions; /* what was last looked at */
	enum reason cut;                      /* a restriction has stopped what had been granted */
	bool tell_detail;                     /* the caller operates this deployment: a refusal says `detail` too */

	const uint8_t *object_id; /* 16 bytes: what a Store is going to put there; NULL: none */
	uint64_t record;          /* of the decision; valid once granted */
	struct err detail;
	bool finished;
	struct hsm_guard guard; /* ends the call in time when the token keeps its thread */
};

void request_init(struct request *request, struct deployment *deployment, struct rpc_call *call,
                  Twokey__V1__Event event);
void request_done(struct request *request);

/* Fills a record with everything that is known of the request. Borrows; *times holds what the record points to. */
struct record_times {
	Google__Protobuf__Timestamp expires_at;
	uint8_t certificate[32];
};
void request_record(const struct request *request, Twokey__V1__Record *ret, struct record_times *times);

/* Records the refusal, then tells the client: status, ErrorInfo and the record's index. request->detail goes into the
 * record only. When the refusal cannot be recorded the client is told LEDGER_UNAVAILABLE instead. */
void request_refuse(struct request *request, enum reason reason);
/* The same with a record that the caller has filled further. */
void request_refuse_as(struct request *request, Twokey__V1__Record *record, enum reason reason);
/* Ends the call with a reason, without a record of its own: what happened is in request->record's completion. */
void request_fail(struct request *request, enum reason reason);
/* Ends the call well. */
void request_finish(struct request *request);

/* The single-use side of the request's transaction. */
struct audit_use request_use(const struct request *request, bool spend);

/* Makes the grant durable; with `spend`, spends one use in the same step; with `use` false there is no transaction to
 * note (Authorize, Audit). False: the call has been refused and finished. */
enum request_grant_mode { REQUEST_NO_USE, REQUEST_NOTE, REQUEST_SPEND };
must_check bool request_grant(struct request *request, enum request_grant_mode mode);

/* Receives the only message of a unary or server-streaming call. NULL: refused and finished. Free with pb_free. */
must_check ProtobufCMessage *request_receive(struct request *request, const ProtobufCMessageDescriptor *type);
/* Sends one message. */
must_check enum err_code request_send(struct request *request, const ProtobufCMessage *message, struct err *err);
/* Answers a unary call and finishes it. */
void request_answer(struct request *request, const ProtobufCMessage *message);

/* Who calls: the caller's identity, else the first of the certificate's SAN entries, else its common name; "" without a
 * certificate. */
const char *request_identity_name(const struct request *request);

int64_t request_now_ms(const struct request *request);

/* The rules by which this request is decided: one version from its first question to its end. Gatekeepers only. */
const struct policy *request_policy(struct request *request);

/* Is the request's transaction restricted right now? */
enum reason request_restricted(struct request *request);
/* A granted request that goes on: has a restriction come in between? Then `cut` says which, from now on. Cheap enough
 * for every chunk. */
bool request_cut(struct request *request);

/* Why did a layer below fail? For transfers: the reason that a client and the record get. */
enum reason request_reason_of(const struct request *request, enum err_code code);

#endif
