/* Reasons: why something was refused, in the stable words that clients, records and documents share
 * (google.rpc.ErrorInfo.reason, domain "twokey"; the list is docs/PROTOCOL.md's). A reason has one category, hence one
 * gRPC status. */
#ifndef TWOKEY_COMMON_REASON_H
#define TWOKEY_COMMON_REASON_H

#include "common/err.h"

/* name, category, what the client is told */
#define REASONS(X)                                                                                                     \
	X(NONE, OK, "")                                                                                                    \
	X(MALFORMED, INVALID, "the request is not well formed")                                                            \
	X(TOO_LARGE, EXHAUSTED, "the request exceeds a size limit")                                                        \
	X(FLOOD_LIMIT, EXHAUSTED, "too many requests from this address; try again later")                                  \
	X(SIGNATURE_INVALID, UNAUTHENTICATED, "the envelope has no valid signature by a trusted vendor key")               \
	X(HOLDER_PROOF_INVALID, UNAUTHENTICATED, "the holder proof is missing or does not hold")                           \
	X(CALLER_UNAUTHENTICATED, UNAUTHENTICATED, "this method needs a client certificate")                               \
	X(CALLER_NOT_ALLOWED, DENIED, "the client certificate has no role that allows this")                               \
	X(CERTIFICATE_EXPIRED, UNAUTHENTICATED, "the client certificate is not valid at this time")                        \
	X(CERTIFICATE_REVOKED, UNAUTHENTICATED, "the client certificate has been revoked")                                 \
	X(CERTIFICATE_UNTRUSTED, UNAUTHENTICATED, "no authority vouches for the client certificate")                       \
	X(REVOCATION_UNKNOWN, UNAVAILABLE, "whether the client certificate has been revoked is not known right now")       \
	X(CALLER_LIMITED, DENIED, "this caller may not propose or use such a transaction")                                 \
	X(AUDIENCE_MISMATCH, DENIED, "the transaction names another gatekeeper or a bucket it does not guard")             \
	X(OPERATION_MISMATCH, DENIED, "the transaction allows another operation than this method performs")                \
	X(NOT_YET_VALID, PRECONDITION, "the transaction is not valid yet")                                                 \
	X(EXPIRED, PRECONDITION, "the transaction has expired")                                                            \
	X(LIFETIME_TOO_LONG, DENIED, "the transaction lives longer than allowed")                                          \
	X(REPLAYED, DENIED, "every use of this transaction has been spent")                                                \
	X(ID_REUSED, DENIED, "this transaction id was seen with other content")                                            \
	X(NETWORK_DENIED, DENIED, "not allowed from this network address")                                                 \
	X(COUNTRY_DENIED, DENIED, "not allowed from this country, or the country is not known")                            \
	X(HOURS_DENIED, DENIED, "not allowed at this time")                                                                \
	X(CONSENT_REQUIRED, DENIED, "the transaction must say who consented")                                              \
	X(PURPOSE_REQUIRED, DENIED, "the transaction must say its purpose")                                                \
	X(ID_TOKEN_REQUIRED, DENIED, "the end user must be proved by an ID token")                                         \
	X(ID_TOKEN_INVALID, UNAUTHENTICATED, "the ID token does not prove the transaction's subject")                      \
	X(IDENTITY_PROVIDER_UNAVAILABLE, UNAVAILABLE, "the identity provider's keys are not known right now")              \
	X(RULE_DENIED, DENIED, "the gatekeeper's rules do not allow this")                                                 \
	X(RATE_LIMITED, EXHAUSTED, "more than was agreed in so short a time; try again later")                             \
	X(REVOKED, DENIED, "this has been revoked")                                                                        \
	X(OBJECT_EXPIRED, DENIED, "this object has expired")                                                               \
	X(USER_NOT_LISTED, DENIED, "this object is open to other users only")                                              \
	X(LOCKDOWN, DENIED, "everything is stopped: lockdown")                                                             \
	X(RULES_INVALID, INVALID, "the rules or vendor keys are wrong")                                                    \
	X(AUTHORITIES_INVALID, INVALID, "the authorities or revocation lists have a mistake")                              \
	X(NO_SUCH_RESTRICTION, NOT_FOUND, "there is no such restriction")                                                  \
	X(OBJECT_EXISTS, EXISTS, "the object exists and the transaction does not allow overwriting")                       \
	X(OBJECT_NOT_FOUND, NOT_FOUND, "there is no such object")                                                          \
	X(OBJECT_CORRUPT, CORRUPT, "the stored object failed verification")                                                \
	X(STALE_OBJECT, CORRUPT, "an older object stands under this name than was stored last")                            \
	X(RANGE_INVALID, INVALID, "the byte range lies outside the object")                                                \
	X(CONTENT_MISMATCH, PRECONDITION, "the content is not what the transaction promised")                              \
	X(STORE_REFUSED, PRECONDITION, "the bucket does not take an object of this name or kind")                          \
	X(PRESIGN_DENIED, DENIED, "the gatekeeper gives no URL for this; fetch it")                                        \
	X(OBJECT_SEALED, PRECONDITION, "the object is sealed: a URL would give its ciphertext; fetch it")                  \
	X(SEARCH_UNAVAILABLE, UNAVAILABLE, "the record cannot be searched right now; deciding goes on")                    \
	X(UPLOAD_INCOMPLETE, INVALID, "the upload ended without its tail; nothing was stored")                             \
	X(TOKEN_UNAVAILABLE, UNAVAILABLE, "the token cannot be used right now")                                            \
	X(LEDGER_UNAVAILABLE, UNAVAILABLE, "the record cannot be written or read right now")                               \
	X(CLOCK_IN_DOUBT, UNAVAILABLE, "the clock cannot be trusted right now")                                            \
	X(STORE_UNAVAILABLE, UNAVAILABLE, "the bucket cannot be reached right now")                                        \
	X(OVERLOADED, EXHAUSTED, "too many requests are running; try again later")                                         \
	X(CLIENT_GONE, CANCELLED, "the client went away")                                                                  \
	X(DEADLINE_PASSED, DEADLINE, "the caller's deadline passed")                                                       \
	X(VENDOR_CANNOT, UNIMPLEMENTED, "this is the vendor's deployment; ask the customer's gatekeeper for that method")  \
	X(GATEKEEPER_CANNOT, UNIMPLEMENTED, "this is the gatekeeper; ask the vendor's deployment for that method")         \
	X(UNKNOWN_METHOD, UNIMPLEMENTED, "there is no such method")                                                        \
	X(NO_SUCH_KEY, NOT_FOUND, "the token has no such key")                                                             \
	X(KEY_NEEDED, PRECONDITION, "the key is still needed")                                                             \
	X(KEY_UNUSABLE, PRECONDITION, "the key cannot be used for this")                                                   \
	X(CHECKPOINT_UNKNOWN, UNAUTHENTICATED, "the checkpoint is not signed by the log that is witnessed here")           \
	X(CHECKPOINT_CONTRADICTS, CORRUPT, "the checkpoint does not continue the one that was witnessed last")             \
	X(NO_SUCH_RECORD, NOT_FOUND, "there is no such record")                                                            \
	X(INTERNAL, INTERNAL, "internal error")

enum reason {
#define X(name, code, text) REASON_##name,
	REASONS(X)
#undef X
};

/* "NETWORK_DENIED"; "" for NONE. */
const char *reason_name(enum reason reason);
/* What the client is told. */
const char *reason_text(enum reason reason);
enum err_code reason_code(enum reason reason);

#endif
