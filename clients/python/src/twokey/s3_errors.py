"""Our errors in boto3's words."""
from __future__ import annotations

from typing import Any

import grpc
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from twokey.errors import CallError, DeadlinePassed, TwokeyError

# boto3 asks for an object's head before it downloads, and puts an upload. A refused HEAD has no body: its code is the
# HTTP status.
DOWNLOAD, UPLOAD = "HeadObject", "PutObject"

# reason: (HTTP status, code, message)
_REASONS = {
    "OBJECT_NOT_FOUND": (404, "NoSuchKey", "The specified key does not exist."),
    "AUDIENCE_MISMATCH": (404, "NoSuchBucket", "The specified bucket does not exist"),
    "OBJECT_EXISTS": (412, "PreconditionFailed", "The object exists."),
    "CONTENT_MISMATCH": (400, "BadDigest", "The content is not what was promised."),
    "STORE_REFUSED": (400, "InvalidRequest", "The bucket does not take an object of this name or kind."),
    "LIFETIME_TOO_LONG": (400, "InvalidArgument", "The transaction lives longer than allowed."),
}
_STATUS = {
    grpc.StatusCode.PERMISSION_DENIED: (403, "AccessDenied", "Access Denied"),
    grpc.StatusCode.UNAUTHENTICATED: (403, "AccessDenied", "Access Denied"),
    grpc.StatusCode.FAILED_PRECONDITION: (403, "AccessDenied", "Access Denied"),
    grpc.StatusCode.INVALID_ARGUMENT: (400, "InvalidArgument", "Invalid Argument"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (503, "SlowDown", "Please reduce your request rate."),
    grpc.StatusCode.UNAVAILABLE: (503, "ServiceUnavailable", "Please try again."),
}
_INTERNAL = (500, "InternalError", "We encountered an internal error.")
_HEAD = {404: "Not Found", 403: "Forbidden", 400: "Bad Request", 412: "Precondition Failed"}


def as_boto3(error: TwokeyError, operation: str, address: str) -> Any:
    """The exception that boto3 would raise. Its response["Error"] has the `Reason` and the `Record` too."""
    if not isinstance(error, CallError):
        return _client_error(_INTERNAL, operation, error, {})
    if isinstance(error, DeadlinePassed):
        return ReadTimeoutError(endpoint_url=f"https://{address}", error=error)
    if error.code == grpc.StatusCode.UNAVAILABLE and not error.reason:
        return EndpointConnectionError(endpoint_url=f"https://{address}", error=error)
    known = _REASONS.get(error.reason) or _STATUS.get(error.code, _INTERNAL)
    return _client_error(known, operation, error, {"Reason": error.reason, "Record": error.record})


def _client_error(known: tuple[int, str, str], operation: str, error: TwokeyError, more: dict[str, object]) -> Any:
    status, code, message = known
    if operation == DOWNLOAD:
        code, message = (str(status), _HEAD[status]) if status in _HEAD else (code, message)
    told = {"Code": code, "Message": message if operation == DOWNLOAD else f"{message} ({error})", **more}
    return ClientError({"Error": told, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {},
                                                                           "RetryAttempts": 0}}, operation)
