"""How a call can end when it does not end well."""
from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"
_TRY_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class TwokeyError(Exception):
    """Everything that this package raises by itself."""


class IntegrityError(TwokeyError):
    """What arrived is not what was sent, or not what was asked for. Do not use it."""


class CallError(TwokeyError):
    """A deployment, or the way to it, has ended a call.

    `reason` is one of the stable words of docs/PROTOCOL.md, "" when nobody gave one; `record` the number of the audit
    record that an operator finds the decision by, or None."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "", record: int | None = None) -> None:
        self.code, self.message, self.reason, self.record = code, message, reason, record
        where = "" if record is None else f" (record {record})"
        super().__init__(f"{reason or code.name}: {message}{where}")


class Refused(CallError):
    """A deployment decided: no. Asking again will not help."""


class NotFound(Refused):
    """There is no such object."""


class AlreadyExists(Refused):
    """The object exists, and the transaction does not allow overwriting."""


class Unavailable(CallError):
    """Nobody could decide, or it took too long: it may be tried again, later."""


class DeadlinePassed(Unavailable):
    """The caller's own deadline has passed."""


_BY_REASON: dict[str, type[CallError]] = {"OBJECT_NOT_FOUND": NotFound, "OBJECT_EXISTS": AlreadyExists, "TOO_LARGE": Refused}


def _info(error: grpc.RpcError) -> Any:
    """The google.rpc.ErrorInfo that a deployment gave, or None."""
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key != _DETAILS:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == "twokey":
                return info
    return None


def _kind(code: grpc.StatusCode, reason: str) -> type[CallError]:
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlinePassed
    if code in _TRY_AGAIN:
        return Unavailable
    return Refused if reason else CallError


def of_rpc_error(error: grpc.RpcError) -> CallError:
    """What a failed call of grpcio means."""
    info = _info(error)
    reason = info.reason if info else ""
    record = info.metadata.get("record") if info else None
    return _kind(error.code(), reason)(error.code(), error.details() or "", reason,
                                       int(record) if record and record.isdigit() else None)
