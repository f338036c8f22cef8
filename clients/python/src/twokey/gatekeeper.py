"""The customer's side: the second signature, and the bytes."""
from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

import grpc

from twokey.channel import SERVICE, Connection, Metadata, Pem, Tls, read_pem
from twokey.envelope import PublicKey, check_signed
from twokey.errors import CallError, IntegrityError, Refused, Unavailable, of_rpc_error
from twokey.holder import HolderKey
from twokey.receipt import check_receipt
from twokey.retry import Retry
from twokey.transfer import Incoming, Outgoing, Progress, Readable, Rewinder, Writable
from twokey.v1 import gatekeeper_pb2 as pb
from twokey.v1.transaction_pb2 import Envelope, HolderProof

T = TypeVar("T")
Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Fetched:
    """An object, or a range of it, that has been received whole. `receipt` is signed by the gatekeeper."""

    size: int
    sha256: bytes
    object_size: int
    first: int
    content_type: str
    version_id: str
    record: int
    envelope: Envelope
    receipt: Envelope


@dataclasses.dataclass(frozen=True)
class Stored:
    size: int
    sha256: bytes
    version_id: str
    record: int
    envelope: Envelope
    receipt: Envelope


@dataclasses.dataclass(frozen=True)
class Entry:
    """`size` is of the plain bytes, `stored_size` of what the bucket holds."""

    object: str
    size: int
    stored_size: int
    modified: datetime.datetime


@dataclasses.dataclass(frozen=True)
class Listing:
    objects: list[Entry]
    record: int
    receipt: Envelope


@dataclasses.dataclass(frozen=True)
class Removed:
    record: int
    receipt: Envelope


class Gatekeeper(Connection):
    """A customer's gatekeeper. Needs no client certificate: the envelope is what allows.

    `holder`: proves that it holds the key which the transactions name. `audit_keys`, `transaction_keys`: the
    gatekeeper's public keys (PEM); with them the signatures of receipts and co-signatures are verified.

    A transaction is spent by its use. Where a call fails before that (Unavailable), it is tried again; once bytes have
    moved it is not: ask the vendor for a new one. Transfers have no timeout unless given one. `metadata` of a call goes
    with that call, beside what goes with all."""

    def __init__(self, address: str, tls: Tls, *, holder: HolderKey | None = None, audit_keys: Sequence[Pem] = (),
                 transaction_keys: Sequence[Pem] = (), timeout: float | None = 60.0, retry: Retry = Retry(),
                 metadata: Metadata = ()) -> None:
        super().__init__(address, tls, timeout=timeout, retry=retry, metadata=metadata)
        self.holder = holder
        self._audit_keys = [PublicKey(read_pem(pem)) for pem in audit_keys]
        self._transaction_keys = [PublicKey(read_pem(pem)) for pem in transaction_keys]
        unary, channel = self.channel.unary_unary, self.channel
        self._cosign: grpc.UnaryUnaryMultiCallable[pb.CoSignRequest, pb.CoSignResponse] = unary(
            SERVICE + "CoSign", pb.CoSignRequest.SerializeToString, pb.CoSignResponse.FromString)
        self._remove: grpc.UnaryUnaryMultiCallable[pb.RemoveRequest, pb.RemoveResponse] = unary(
            SERVICE + "Remove", pb.RemoveRequest.SerializeToString, pb.RemoveResponse.FromString)
        self._fetch: grpc.UnaryStreamMultiCallable[pb.FetchRequest, pb.FetchResponse] = channel.unary_stream(
            SERVICE + "Fetch", pb.FetchRequest.SerializeToString, pb.FetchResponse.FromString)
        self._list: grpc.UnaryStreamMultiCallable[pb.ListRequest, pb.ListResponse] = channel.unary_stream(
            SERVICE + "List", pb.ListRequest.SerializeToString, pb.ListResponse.FromString)
        self._store: grpc.StreamUnaryMultiCallable[pb.StoreRequest, pb.StoreResponse] = channel.stream_unary(
            SERVICE + "Store", pb.StoreRequest.SerializeToString, pb.StoreResponse.FromString)

    # ---- the methods ----
    def cosign(self, envelope: Envelope, *, timeout: float | None = None, metadata: Metadata = ()) -> Envelope:
        """The envelope with the second signature. Spends no use; may be asked again."""
        def once(left: float | None) -> pb.CoSignResponse:
            with _errors():
                return self._cosign(pb.CoSignRequest(envelope=envelope, proof=self._proof(envelope, "CoSign")),
                                    timeout=left, metadata=(*self.metadata, *metadata))

        signed = self.retry.call(once, self._limit(timeout)).envelope
        self._check_cosigned(signed, envelope)
        return signed

    def fetch(self, envelope: Envelope, out: Writable, *, progress: Progress | None = None,
              timeout: float | None = None, metadata: Metadata = ()) -> Fetched:
        """Writes the object to `out`. When this raises, do not use what has been written."""
        incoming = Incoming(out, progress)

        def once(left: float | None) -> Fetched:
            call = self._fetch(pb.FetchRequest(envelope=envelope, proof=self._proof(envelope, "Fetch")), timeout=left,
                               metadata=(*self.metadata, *metadata))
            with _errors(), _cancelling(call):
                for response in call:
                    incoming.take(response)
            return self._fetched(envelope, incoming)

        return self._spend(once, timeout, lambda: incoming.head is None)

    def fetch_file(self, envelope: Envelope, path: Path, *, progress: Progress | None = None,
                   timeout: float | None = None, metadata: Metadata = ()) -> Fetched:
        """The file appears under its name only when it is whole; an older one is replaced then."""
        with _file_when_whole(path) as out:
            return self.fetch(envelope, out, progress=progress, timeout=timeout, metadata=metadata)

    def store(self, envelope: Envelope, source: Readable | bytes, *, content_type: str = "", size: int | None = None,
              progress: Progress | None = None, timeout: float | None = None, metadata: Metadata = ()) -> Stored:
        """Stores bytes, or what `source` (opened in binary mode) has from where it stands. Nothing is visible in the
        bucket before all has arrived."""
        reader: Readable = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
        rewinder = Rewinder(reader)
        total = rewinder.size() if size is None else size
        outgoing = Outgoing(reader, total, progress)

        def once(left: float | None) -> Stored:
            nonlocal outgoing
            outgoing = Outgoing(reader, total, progress)
            response = self._send(envelope, outgoing, content_type, left, metadata)
            return self._stored(envelope, outgoing, response)

        return self._spend(once, timeout, lambda: not outgoing.started or rewinder.rewind())

    def store_file(self, envelope: Envelope, path: Path, *, content_type: str = "", progress: Progress | None = None,
                   timeout: float | None = None, metadata: Metadata = ()) -> Stored:
        with open(path, "rb") as source:
            return self.store(envelope, source, content_type=content_type, progress=progress, timeout=timeout,
                              metadata=metadata)

    def list(self, envelope: Envelope, *, timeout: float | None = None, metadata: Metadata = ()) -> Listing:
        """All objects below the transaction's prefix, in key order."""
        entries: list[pb.ObjectEntry] = []

        def once(left: float | None) -> pb.ListTail:
            entries.clear()
            tail = None
            call = self._list(pb.ListRequest(envelope=envelope, proof=self._proof(envelope, "List")), timeout=left,
                              metadata=(*self.metadata, *metadata))
            with _errors(), _cancelling(call):
                for page in call:
                    entries.extend(page.objects)
                    tail = page.tail if page.HasField("tail") else tail
            if tail is None:
                raise IntegrityError("the listing ended without its tail")
            return tail

        tail = self._spend(once, timeout, lambda: not entries)
        keys = b"".join(entry.object.encode() + b"\0" for entry in entries)
        check_receipt(tail.receipt, envelope, self._audit_keys, (len(entries), hashlib.sha256(keys).digest()))
        made = [Entry(e.object, e.size, e.stored_size, e.modified.ToDatetime(datetime.timezone.utc)) for e in entries]
        return Listing(made, tail.record, tail.receipt)

    def remove(self, envelope: Envelope, *, timeout: float | None = None, metadata: Metadata = ()) -> Removed:
        def once(left: float | None) -> pb.RemoveResponse:
            with _errors():
                return self._remove(pb.RemoveRequest(envelope=envelope, proof=self._proof(envelope, "Remove")),
                                    timeout=left, metadata=(*self.metadata, *metadata))

        response = self._spend(once, self._limit(timeout), lambda: True)
        check_receipt(response.receipt, envelope, self._audit_keys)
        return Removed(response.record, response.receipt)

    # ---- what they share ----
    def _limit(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else timeout

    def _proof(self, envelope: Envelope, method: str) -> HolderProof | None:
        """A new one for every attempt: each counts once."""
        return self.holder.prove(envelope, SERVICE + method) if self.holder else None

    def _spend(self, once: Callable[[float | None], T], timeout: float | None, may_repeat: Callable[[], bool]) -> T:
        """A repetition that is told REPLAYED: an attempt before has spent the use, and failed. That one is the error."""
        failed: Unavailable | None = None

        def attempt(left: float | None) -> T:
            nonlocal failed
            try:
                return once(left)
            except Unavailable as error:
                failed = error
                raise

        try:
            return self.retry.call(attempt, timeout, may_repeat)
        except Refused as error:
            if failed is not None and error.reason == "REPLAYED":
                raise failed from error
            raise

    def _send(self, envelope: Envelope, outgoing: Outgoing, content_type: str, timeout: float | None,
              metadata: Metadata) -> pb.StoreResponse:
        head = pb.StoreHead(envelope=envelope, proof=self._proof(envelope, "Store"), content_type=content_type)
        call = self._store.future(outgoing.messages(head), timeout=timeout, metadata=(*self.metadata, *metadata))
        outgoing.on_error(call.cancel)
        try:
            with _errors(), _cancelling(call):
                return call.result()
        except CallError:
            if outgoing.error is not None:
                raise outgoing.error from None
            raise
        finally:
            outgoing.stop()

    def _check_cosigned(self, signed: Envelope, envelope: Envelope) -> None:
        if (signed.payload, signed.payload_type) != (envelope.payload, envelope.payload_type):
            raise IntegrityError("the co-signed transaction is another one")
        check_signed(signed, self._transaction_keys, "the co-signed transaction")

    def _fetched(self, envelope: Envelope, incoming: Incoming) -> Fetched:
        head, tail, sha256 = incoming.check()
        self._check_cosigned(head.envelope, envelope)
        check_receipt(tail.receipt, envelope, self._audit_keys, (incoming.bytes, sha256))
        return Fetched(incoming.bytes, sha256, head.object_size, head.first, head.content_type, head.version_id,
                       head.record, head.envelope, tail.receipt)

    def _stored(self, envelope: Envelope, outgoing: Outgoing, response: pb.StoreResponse) -> Stored:
        if (response.bytes, response.sha256) != (outgoing.bytes, outgoing.sha256):
            raise IntegrityError("what the gatekeeper stored is not what was sent")
        self._check_cosigned(response.envelope, envelope)
        check_receipt(response.receipt, envelope, self._audit_keys, (response.bytes, response.sha256))
        return Stored(response.bytes, response.sha256, response.version_id, response.record, response.envelope,
                      response.receipt)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise of_rpc_error(error) from None
    except grpc.FutureCancelledError:
        raise CallError(grpc.StatusCode.CANCELLED, "cancelled") from None


@contextlib.contextmanager
def _cancelling(call: grpc.RpcContext | grpc.Future[T]) -> Iterator[None]:
    """Ends the call at once when its messages cannot be taken."""
    try:
        yield
    except BaseException:
        call.cancel()
        raise


@contextlib.contextmanager
def _file_when_whole(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path`, renamed at a good end and removed at any other. What is there and is no regular file
    (a pipe, /dev/stdout) is written to directly."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as out:
            yield out
        return
    target = os.path.realpath(path)  # a symbolic link stays one
    part = f"{target}.{secrets.token_hex(4)}"
    out = open(part, "xb")  # pylint: disable=consider-using-with
    try:
        with out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
