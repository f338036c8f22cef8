"""The bytes of one Fetch or Store: counted, hashed, and told of."""
from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from twokey.errors import IntegrityError
from twokey.v1.gatekeeper_pb2 import FetchHead, FetchResponse, FetchTail, StoreHead, StoreRequest, StoreTail

CHUNK = 256 << 10  # travels best

Progress = Callable[[int, int | None], None]  # (bytes so far, bytes in all or None when unknown)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Incoming:
    """Takes the parts of a Fetch in their order, and writes the bytes."""

    def __init__(self, out: Writable, progress: Progress | None) -> None:
        self.out, self.progress = out, progress
        self.head: FetchHead | None = None
        self.tail: FetchTail | None = None
        self.bytes, self._hash = 0, hashlib.sha256()

    def take(self, response: FetchResponse) -> None:
        part = response.WhichOneof("part")
        if self.tail is not None or (part == "head") != (self.head is None):
            raise IntegrityError("the parts of the object came out of order")
        if part == "head":
            self.head = response.head
        elif part == "chunk":
            self._take_chunk(response.chunk)
        elif part == "tail":
            self.tail = response.tail

    def _take_chunk(self, chunk: bytes) -> None:
        assert self.head is not None
        self.bytes += len(chunk)
        self._hash.update(chunk)
        self.out.write(chunk)
        if self.progress:
            self.progress(self.bytes, self.head.size)

    def check(self) -> tuple[FetchHead, FetchTail, bytes]:
        """Head, tail and SHA-256 when it is whole; IntegrityError otherwise."""
        if self.head is None or self.tail is None:
            raise IntegrityError("the object ended without its tail")
        if (self.tail.bytes, self.tail.sha256) != (self.bytes, self._hash.digest()) or self.head.size != self.bytes:
            raise IntegrityError("what arrived is not what the gatekeeper sent")
        return self.head, self.tail, self.tail.sha256


class Outgoing:
    """The messages of a Store, made while grpcio's own thread asks for them. `error`: why they ended early; then there is
    no tail, and the gatekeeper stores nothing."""

    def __init__(self, source: Readable, size: int | None, progress: Progress | None) -> None:
        self.source, self.size, self.progress = source, size, progress
        self.error: BaseException | None = None
        self.started = False
        self.bytes, self._hash = 0, hashlib.sha256()
        self._lock, self._stopped = threading.Lock(), False
        self._cancel: Callable[[], bool] = bool

    @property
    def sha256(self) -> bytes:
        return self._hash.digest()

    def on_error(self, cancel: Callable[[], bool]) -> None:
        """Called when the source fails; at once when it has failed already."""
        with self._lock:
            self._cancel = cancel
        if self.error is not None:
            cancel()

    def stop(self) -> None:
        """After this, the source is not touched any more."""
        with self._lock:
            self._stopped = True

    def messages(self, head: StoreHead) -> Iterator[StoreRequest]:
        yield StoreRequest(head=head)
        self.started = True
        try:
            while chunk := self._read():
                yield from self._send(chunk)
        except GeneratorExit:
            raise
        except BaseException as error:  # pylint: disable=broad-except  # it is raised again, on the caller's thread
            self._fail(error)
            return
        if not self._stopped:
            yield StoreRequest(tail=StoreTail(bytes=self.bytes, sha256=self.sha256))

    def _read(self) -> bytes:
        with self._lock:
            return b"" if self._stopped else _as_bytes(self.source.read(CHUNK))

    def _send(self, chunk: bytes) -> Iterator[StoreRequest]:
        for at in range(0, len(chunk), CHUNK):  # some sources give more than they were asked for
            part = chunk[at:at + CHUNK]
            self.bytes += len(part)
            self._hash.update(part)
            yield StoreRequest(chunk=part)
            if self.progress:
                self.progress(self.bytes, self.size)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = error
            cancel = self._cancel
        cancel()


def _as_bytes(chunk: object) -> bytes:
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"a source of bytes gave {type(chunk).__name__}: open files in binary mode")


class Rewinder:
    """Puts a source back to where it was, when it can be."""

    def __init__(self, source: Readable) -> None:
        self.source, self.start = source, None
        if isinstance(source, io.IOBase) and source.seekable():
            self.start = source.tell()

    def size(self) -> int | None:
        """Bytes from here to the end, None when that cannot be known."""
        if self.start is None or not isinstance(self.source, io.IOBase):
            return None
        end = self.source.seek(0, io.SEEK_END)
        self.source.seek(self.start)
        return end - self.start

    def rewind(self) -> bool:
        if self.start is None or not isinstance(self.source, io.IOBase):
            return False
        self.source.seek(self.start)
        return True
