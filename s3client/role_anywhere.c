/* https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html: SigV4 with an X.509
 * certificate in place of the access key id, and a signature by its key in place of the HMAC. */
#include <ctype.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <time.h>

#include "common/text.h"
#include "s3client/role.h"

#define ALGORITHM        "AWS4-X509-ECDSA-SHA256"
#define SERVICE          "rolesanywhere"
#define PATH             "/sessions"
#define CERTIFICATES     6 /* the leaf and what is between it and the trust anchor */
#define DURATION_S       3600U
#define DURATION_MIN_S   900U
#define DURATION_MAX_S   43200U
#define ARN_BYTES_MAX    1011
#define SESSION_NAME_MAX 64

/* ---- one session ---- */

struct signed_session {
	struct buf url, authorization;
	char timestamp[17];
	struct sigv4_pair headers[6];
	size_t n_headers;
};

static void add_header(struct signed_session *session, const char *name, const char *value)
{
	session->headers[session->n_headers++] = (struct sigv4_pair){name, value};
}

static enum err_code sign(const struct role *role, struct span string_to_sign, struct buf *ret_hex, struct err *err)
{
	uint8_t digest[32];
	text_sha256(string_to_sign, digest);
	autobuf struct buf der = {0};
	enum err_code code = role->sign(role->user, digest, &der, err);
	if (code != ERR_OK)
		return code;
	autofree char *hex = xcalloc(2 * der.len + 1, 1);
	text_hex(buf_span(&der), hex);
	buf_append_str(ret_hex, hex);
	return ERR_OK;
}

static enum err_code authorize(const struct role *role, struct signed_session *session, struct err *err)
{
	char payload_hash[65];
	uint8_t digest[32];
	text_sha256(span_str(role->body), digest);
	text_hex(span_of(digest, sizeof digest), payload_hash);
	/* As AWS's own helper sends it: the ARNs in the query, the rest in the body. */
	const struct sigv4_pair query[] = {
	    {"profileArn", role->profile_arn}, {"roleArn", role->role_arn}, {"trustAnchorArn", role->trust_anchor_arn}};
	const struct sigv4_request request = {.method = "POST",
	                                      .path = span_str(PATH),
	                                      .query = query,
	                                      .n_query = 3,
	                                      .headers = session->headers,
	                                      .n_headers = session->n_headers,
	                                      .payload_hash = payload_hash};
	const struct sigv4_scope scope = {session->timestamp, role->region, SERVICE, ALGORITHM};
	autobuf struct buf canonical = {0}, to_sign = {0}, names = {0}, hex = {0};
	buf_printf(&session->url, "%s" PATH "?", role->origin);
	sigv4_canonical_query(query, 3, &session->url);
	sigv4_canonical_request(&request, &canonical);
	sigv4_string_to_sign(&scope, buf_span(&canonical), &to_sign);
	sigv4_signed_headers(&request, &names);
	enum err_code code = sign(role, buf_span(&to_sign), &hex, err);
	if (code != ERR_OK)
		return code;
	buf_printf(&session->authorization, ALGORITHM " Credential=%s/", role->serial);
	sigv4_scope_text(&scope, &session->authorization);
	buf_printf(&session->authorization, ", SignedHeaders=%s, Signature=%s", buf_cstr(&names), buf_cstr(&hex));
	return ERR_OK;
}

static enum err_code build(const struct role *role, struct signed_session *session, struct err *err)
{
	int64_t now_ms = clock_now_ms(role->clock);
	if (now_ms > role->certificate_ends_ms)
		return err_set(err, ERR_PRECONDITION, 0, "the certificate has expired");
	sigv4_timestamp(now_ms, session->timestamp);
	add_header(session, "host", role->host);
	add_header(session, "content-type", "application/json");
	add_header(session, "x-amz-date", session->timestamp);
	add_header(session, "x-amz-x509", role->leaf);
	if (role->chain)
		add_header(session, "x-amz-x509-chain", role->chain);
	enum err_code code = authorize(role, session, err);
	if (code == ERR_OK)
		add_header(session, "authorization", buf_cstr(&session->authorization));
	return code;
}

static enum err_code fetch(struct role *role, const struct wait *wait, struct role_set *ret, struct err *err)
{
	static const struct role_names names = {"credentialSet", "accessKeyId", "secretAccessKey", "sessionToken",
	                                        "expiration"};
	struct signed_session session = {0};
	struct buf answer = {0};
	enum err_code code = build(role, &session, err);
	if (code == ERR_OK) {
		const struct http_request request = {.method = "POST",
		                                     .url = buf_cstr(&session.url),
		                                     .headers = session.headers,
		                                     .n_headers = session.n_headers,
		                                     .body = span_str(role->body),
		                                     .wait = *wait};
		code = role_exchange(role, &request, &answer, err);
	}
	if (code == ERR_OK)
		code = role_read_set(role, buf_span(&answer), &names, ret, err);
	role_answer_done(&answer);
	buf_done(&session.url);
	buf_done(&session.authorization);
	return code;
}

static const struct role_ops ops = {"IAM Roles Anywhere", fetch};

/* ---- certificates ---- */

static char *base64_of(const X509 *certificate)
{
	unsigned char *der = NULL;
	int len = i2d_X509(certificate, &der);
	autobuf struct buf text = {0};
	if (len > 0)
		text_base64(span_of(der, (size_t)len), &text);
	OPENSSL_free(der);
	return xstrdup(buf_cstr(&text));
}

static char *decimal_serial(const X509 *certificate)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
	char *text = number ? BN_bn2dec(number) : NULL, *copy = text ? xstrdup(text) : NULL;
	OPENSSL_free(text);
	BN_free(number);
	return copy;
}

static bool has_key(const X509 *certificate, struct span spki)
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	bool same = len > 0 && span_eq(span_of(der, (size_t)len), spki);
	OPENSSL_free(der);
	return same;
}

static enum err_code use_leaf(struct role *role, const X509 *leaf, const struct s3_role *from, struct err *err)
{
	const EVP_PKEY *key = X509_get0_pubkey(leaf);
	if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || EVP_PKEY_get_bits(key) != 256)
		return err_set(err, ERR_INVALID, 0, "the certificate's key must be EC P-256");
	if (!has_key(leaf, from->spki))
		return err_set(err, ERR_INVALID, 0, "the first certificate is not of the key in the token");
	struct tm tm = {0};
	role->leaf = base64_of(leaf);
	role->serial = decimal_serial(leaf);
	if (!role->serial || !ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm))
		return err_set(err, ERR_INVALID, 0, "the certificate cannot be read");
	role->certificate_ends_ms = (int64_t)timegm(&tm) * 1000;
	return ERR_OK;
}

static enum err_code use_certificates(struct role *role, const struct s3_role *from, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(from->certificates.ptr, (int)from->certificates.len);
	enum err_code code = ERR_OK;
	autobuf struct buf chain = {0};
	size_t n = 0;
	for (X509 *each; bio && code == ERR_OK && (each = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
		if (n == 0) {
			code = use_leaf(role, each, from, err);
		} else {
			autofree char *text = base64_of(each);
			buf_printf(&chain, "%s%s", n > 1 ? "," : "", text);
		}
		X509_free(each);
	}
	BIO_free(bio);
	if (code == ERR_OK && (n == 0 || n > CERTIFICATES))
		code = err_set(err, ERR_INVALID, 0, "1 to %d certificates are needed, the leaf first", CERTIFICATES);
	if (code == ERR_OK && n > 1)
		role->chain = xstrdup(buf_cstr(&chain));
	return code;
}

/* ---- settings ---- */

/* "arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE"; copies the region when asked to. */
static bool is_arn(const char *text, const char *service, char **ret_region)
{
	if (!text || strlen(text) > ARN_BYTES_MAX || !text_utf8(span_str(text)))
		return false;
	autofree char *copy = xstrdup(text);
	char *next = copy, *fields[5];
	for (size_t i = 0; i < 5; i++) {
		if (!(fields[i] = strsep(&next, ":")))
			return false;
	}
	if (strcmp(fields[0], "arn") != 0 || strcmp(fields[2], service) != 0 || !next || !next[0])
		return false;
	if (ret_region)
		*ret_region = fields[3][strspn(fields[3], "abcdefghijklmnopqrstuvwxyz0123456789-")] == 0 && fields[3][0]
		                  ? xstrdup(fields[3])
		                  : NULL;
	return !ret_region || *ret_region;
}

static bool is_session_name(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("+=,.@_-", name[i]))
			return false;
	}
	return len >= 2 && len <= SESSION_NAME_MAX;
}

static enum err_code check(const struct s3_role *from, char **ret_region, struct err *err)
{
	if (!is_arn(from->trust_anchor_arn, SERVICE, ret_region) || !is_arn(from->profile_arn, SERVICE, NULL) ||
	    !is_arn(from->role_arn, "iam", NULL))
		return err_set(err, ERR_INVALID, 0, "Roles Anywhere needs the ARNs of trust anchor, profile and role");
	if (from->duration_s && (from->duration_s < DURATION_MIN_S || from->duration_s > DURATION_MAX_S))
		return err_set(err, ERR_INVALID, 0, "a session lasts %u to %u seconds", DURATION_MIN_S, DURATION_MAX_S);
	if (from->session_name && !is_session_name(from->session_name))
		return err_set(err, ERR_INVALID, 0, "a session's name is 2 to 64 letters, digits and +=,.@_-");
	return from->sign ? ERR_OK : err_set(err, ERR_INVALID, 0, "Roles Anywhere needs a key");
}

static enum err_code use_endpoint(struct role *role, const struct s3_role *from, struct err *err)
{
	bool china = strncmp(from->trust_anchor_arn, "arn:aws-cn:", 11) == 0;
	autofree char *text = from->endpoint
	                          ? xstrdup(from->endpoint)
	                          : xasprintf("https://rolesanywhere.%s.amazonaws.com%s", role->region, china ? ".cn" : "");
	struct role_url url;
	bool good = role_url_parse(text, &url) && (url.https || url.loopback) && strcmp(url.path, "/") == 0;
	if (good) {
		role->origin = xstrdup(url.origin);
		role->host = xstrdup(url.host_port);
	}
	role_url_done(&url);
	return good ? ERR_OK : err_set(err, ERR_INVALID, 0, "the endpoint of Roles Anywhere is https:// and a host");
}

enum err_code role_anywhere_init(struct role *role, const struct s3_role *from, struct err *err)
{
	enum err_code code = check(from, &role->region, err);
	if (code == ERR_OK)
		code = use_endpoint(role, from, err);
	if (code == ERR_OK)
		code = use_certificates(role, from, err);
	if (code != ERR_OK)
		return code;
	role->trust_anchor_arn = xstrdup(from->trust_anchor_arn);
	role->profile_arn = xstrdup(from->profile_arn);
	role->role_arn = xstrdup(from->role_arn);
	const char *name = from->session_name;
	role->body = xasprintf("{\"durationSeconds\":%u%s%s%s}", from->duration_s ? from->duration_s : DURATION_S,
	                       name ? ",\"roleSessionName\":\"" : "", name ? name : "", name ? "\"" : "");
	role->sign = from->sign;
	role->user = from->user;
	role->ops = &ops;
	return ERR_OK;
}
