"""The vendor's side: asking for the first signature."""
from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Literal

import grpc

from twokey.channel import SERVICE, Connection, Headers, Metadata, Tls
from twokey.envelope import transaction_of
from twokey.errors import IntegrityError, of_rpc_error
from twokey.holder import HolderKey
from twokey.retry import Retry
from twokey.v1.gatekeeper_pb2 import AuthorizeRequest, AuthorizeResponse
from twokey.v1.transaction_pb2 import Consent, Constraints, Envelope

Operation = Literal["GET", "PUT", "LIST", "DELETE"]


@dataclasses.dataclass(frozen=True)
class Authorized:
    """A transaction with the first signature: hand `envelope` to whoever is to use it."""

    envelope: Envelope
    transaction_id: bytes
    expires_at: datetime.datetime
    record: int


class Vendor(Connection):
    """A vendor's deployment. Needs a client certificate with the role `backend`."""

    def __init__(self, address: str, tls: Tls, *, timeout: float | None = 60.0, retry: Retry = Retry(),
                 metadata: Metadata = ()) -> None:
        super().__init__(address, tls, timeout=timeout, retry=retry, metadata=metadata)
        self._authorize: grpc.UnaryUnaryMultiCallable[AuthorizeRequest, AuthorizeResponse] = self.channel.unary_unary(
            SERVICE + "Authorize", AuthorizeRequest.SerializeToString, AuthorizeResponse.FromString)

    def authorize(self, operation: Operation, bucket: str, object: str, *, gatekeeper: str, subject: str,
                  account: str = "", lifetime: int | None = None, purpose: str = "", correlation_id: str = "",
                  consent_by: str = "", consent_text: str = "", holder: HolderKey | bytes | None = None,
                  networks: Sequence[str] = (), uses: int = 1, byte_range: tuple[int, int] | None = None,
                  version_id: str = "", overwrite: bool = False, exact_bytes: int | None = None,
                  max_bytes: int | None = None, content_sha256: bytes | None = None, content_type: str = "",
                  timeout: float | None = None, metadata: Metadata = ()) -> Authorized:
        """Asks for a transaction. What the arguments mean is said in docs/PROTOCOL.md, section 3.

        `lifetime` in seconds, the deployment's default when None; `holder`: a key, or the SHA-256 that names one;
        `byte_range`: (offset of the first byte, number of bytes); `object` is the prefix for LIST."""
        constraints = Constraints(networks=networks, uses=uses, version_id=version_id, overwrite=overwrite,
                                  exact_bytes=exact_bytes, max_bytes=max_bytes, content_sha256=content_sha256,
                                  content_type=content_type)
        if holder is not None:
            constraints.holder_key_sha256 = holder.sha256 if isinstance(holder, HolderKey) else holder
        if byte_range is not None:
            constraints.range.first, constraints.range.length = byte_range
        consent = Consent(given_by=consent_by, text=consent_text) if consent_by or consent_text else None
        request = AuthorizeRequest(operation="OPERATION_" + operation, gatekeeper=gatekeeper,
                                   bucket=bucket, object=object, account=account, subject=subject,
                                   lifetime_seconds=lifetime, constraints=constraints, purpose=purpose, consent=consent,
                                   correlation_id=correlation_id)
        return self._ask(request, self.timeout if timeout is None else timeout, (*self.metadata, *metadata))

    def _ask(self, request: AuthorizeRequest, timeout: float | None, metadata: Headers) -> Authorized:
        def once(left: float | None) -> AuthorizeResponse:
            try:
                return self._authorize(request, timeout=left, metadata=metadata)
            except grpc.RpcError as error:
                raise of_rpc_error(error) from None

        response = self.retry.call(once, timeout)
        made = transaction_of(response.envelope)
        if (made.operation, made.gatekeeper, made.bucket, made.object, made.subject, made.constraints) != (
                request.operation, request.gatekeeper, request.bucket, request.object, request.subject, request.constraints):
            raise IntegrityError("the transaction is not the one that was asked for")
        return Authorized(response.envelope, response.transaction_id,
                          response.expires_at.ToDatetime(datetime.timezone.utc), response.record)
