#include "s3client/s3.h"

/* S3's own code decides where it is known; a HEAD has none, and then the status does. */
static const struct {
	const char *error_code;
	struct s3_verdict verdict;
} by_code[] = {
    {"NoSuchKey", {ERR_NOT_FOUND, false, false, "no such object"}},
    {"NoSuchVersion", {ERR_NOT_FOUND, false, false, "no such version"}},
    {"NoSuchUpload", {ERR_NOT_FOUND, false, false, "no such upload"}},
    {"NoSuchBucket", {ERR_PRECONDITION, false, false, "the bucket does not exist"}},
    {"AccessDenied", {ERR_DENIED, false, false, "the bucket's or user's policy does not allow it"}},
    {"InvalidAccessKeyId", {ERR_DENIED, false, false, "S3 does not know the access key id"}},
    {"XAdminUserNotFound", {ERR_DENIED, false, false, "S3 does not know the access key id"}}, /* versitygw */
    {"SignatureDoesNotMatch", {ERR_DENIED, false, false, "the S3 secret does not belong to the access key id"}},
    {"RequestTimeTooSkewed", {ERR_DENIED, false, false, "this machine's clock is wrong"}},
    {"ExpiredToken", {ERR_DENIED, false, false, "the credentials have expired"}},
    {"InvalidToken", {ERR_DENIED, false, false, "S3 does not know the session token"}},
    {"TokenRefreshRequired", {ERR_DENIED, false, false, "the session token is used up"}},
    {"AuthorizationHeaderMalformed", {ERR_PRECONDITION, false, false, "is the region right?"}},
    {"PermanentRedirect", {ERR_PRECONDITION, false, false, "the bucket is at another endpoint or region"}},
    {"TemporaryRedirect", {ERR_PRECONDITION, false, false, "the bucket is at another endpoint or region"}},
    {"PreconditionFailed", {ERR_EXISTS, false, false, "the object is there already"}},
    {"ConditionalRequestConflict", {ERR_UNAVAILABLE, true, false, "another writer was at work on the object"}},
    {"OperationAborted", {ERR_UNAVAILABLE, true, false, "another operation was at work"}},
    {"InvalidRange", {ERR_INVALID, false, false, "the range starts beyond the end"}},
    {"KeyTooLongError", {ERR_INVALID, false, false, "the object key is too long for this bucket"}},
    {"EntityTooLarge", {ERR_EXHAUSTED, false, false, "too large for this bucket"}},
    {"QuotaExceeded", {ERR_EXHAUSTED, false, false, "the bucket is full"}},
    {"BadDigest", {ERR_UNAVAILABLE, true, false, "the bytes were damaged on the way"}},
    {"XAmzContentSHA256Mismatch", {ERR_UNAVAILABLE, true, false, "the bytes were damaged on the way"}},
    {"RequestTimeout", {ERR_UNAVAILABLE, true, false, "the bytes came too slowly"}},
    {"SlowDown", {ERR_UNAVAILABLE, true, true, "the bucket is overloaded"}},
    {"ServiceUnavailable", {ERR_UNAVAILABLE, true, true, "the bucket is overloaded"}},
    {"InternalError", {ERR_UNAVAILABLE, true, false, "a fault inside S3"}},
};

static const struct {
	long status;
	struct s3_verdict verdict;
} by_status[] = {
    {301, {ERR_PRECONDITION, false, false, "the bucket is at another endpoint or region"}},
    {307, {ERR_PRECONDITION, false, false, "the bucket is at another endpoint or region"}},
    {308, {ERR_PRECONDITION, false, false, "the bucket is at another endpoint or region"}},
    {400, {ERR_INVALID, false, false, "S3 does not accept the request"}},
    {401, {ERR_DENIED, false, false, "not allowed"}},
    {403, {ERR_DENIED, false, false, "not allowed"}},
    {404, {ERR_NOT_FOUND, false, false, "no such object"}},
    {405, {ERR_NOT_FOUND, false, false, "the version is a delete marker"}},
    {409, {ERR_PRECONDITION, false, false, "it does not go with what is in the bucket"}},
    {412, {ERR_EXISTS, false, false, "the object is there already"}},
    {413, {ERR_EXHAUSTED, false, false, "too large for this bucket"}},
    {416, {ERR_INVALID, false, false, "the range starts beyond the end"}},
    {429, {ERR_UNAVAILABLE, true, true, "the bucket is overloaded"}},
    {500, {ERR_UNAVAILABLE, true, false, "a fault inside S3"}},
    {501, {ERR_UNIMPLEMENTED, false, false, "this S3 does not offer it"}},
    {502, {ERR_UNAVAILABLE, true, false, "S3 cannot be reached behind its gateway"}},
    {503, {ERR_UNAVAILABLE, true, true, "the bucket is overloaded"}},
    {504, {ERR_UNAVAILABLE, true, false, "S3 cannot be reached behind its gateway"}},
    {507, {ERR_EXHAUSTED, false, false, "the bucket is full"}},
};

struct s3_verdict s3_judge(long status, const char *error_code)
{
	for (size_t i = 0; i < sizeof by_code / sizeof by_code[0]; i++) {
		if (strcmp(by_code[i].error_code, error_code) == 0)
			return by_code[i].verdict;
	}
	/* Whatever is missing then, it is not known to be the object. */
	if (status == 404 && error_code[0])
		return (struct s3_verdict){ERR_PRECONDITION, false, false, "is this the right endpoint and bucket?"};
	for (size_t i = 0; i < sizeof by_status / sizeof by_status[0]; i++) {
		if (by_status[i].status == status)
			return by_status[i].verdict;
	}
	return (struct s3_verdict){ERR_UNAVAILABLE, false, false, "an answer that S3 does not give"};
}
