"""One connection to one deployment."""
from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

import grpc

from twokey.retry import Retry

SERVICE = "/twokey.v1.Gatekeeper/"
Pem = str | os.PathLike[str] | bytes
Headers = tuple[tuple[str, str | bytes], ...]  # as grpcio takes them
Metadata = Sequence[tuple[str, str | bytes]]
Self_ = TypeVar("Self_", bound="Connection")


def read_pem(source: Pem) -> bytes:
    """PEM itself as bytes, or the path of a file."""
    return source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()


@dataclasses.dataclass(frozen=True)
class Tls:
    """Whom to believe, and who we are: each PEM as bytes, or the path of a file.

    `ca` signed the deployment's certificate; without it, the system's authorities are believed. `certificate` and `key`
    are ours, for methods that need a client certificate (Authorize)."""

    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs both `certificate` and `key`")

    def credentials(self) -> grpc.ChannelCredentials:
        read = [None if pem is None else read_pem(pem) for pem in (self.ca, self.key, self.certificate)]
        return grpc.ssl_channel_credentials(*read)


class Connection:
    """What Vendor and Gatekeeper share. Connects when first used; thread-safe; close it, or use it in `with`.

    `timeout`: seconds for each short call with all its repetitions. `metadata`: goes with every call, for instance
    [("traceparent", ...)]."""

    def __init__(self, address: str, tls: Tls, *, timeout: float | None = 60.0, retry: Retry = Retry(),
                 metadata: Metadata = ()) -> None:
        self.address, self.timeout, self.retry, self.metadata = address, timeout, retry, tuple(metadata)
        # Of its own: channels with equal options would share one connection.
        self.channel = grpc.secure_channel(address, tls.credentials(), [("grpc.use_local_subchannel_pool", 1)])

    def close(self) -> None:
        self.channel.close()

    def __enter__(self: Self_) -> Self_:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
