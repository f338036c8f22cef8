"""boto3's four transfers, by way of a vendor and a gatekeeper: same arguments, callbacks and exceptions.

Each transfer is a transaction of its own: authorized by the vendor, named to a holder key that only this client has,
co-signed and carried out by the gatekeeper. `twokey.boto3` makes clients from the environment."""
from __future__ import annotations

import base64
import dataclasses
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import S3Transfer
from botocore.exceptions import ClientError

from twokey.channel import Metadata
from twokey.errors import TwokeyError
from twokey.gatekeeper import Gatekeeper
from twokey.retry import Retry
from twokey.s3_errors import DOWNLOAD, UPLOAD, as_boto3
from twokey.transfer import Progress, Readable, Rewinder, Writable
from twokey.vendor import Authorized, Vendor

Callback = Callable[[int], object]

# What boto3 takes as ExtraArgs and we can do; everything else of boto3's is refused with a clear error.
_UPLOAD_ARGS = ("ContentType", "ChecksumSHA256", "ChecksumAlgorithm")
_DOWNLOAD_ARGS = ("VersionId", "ChecksumMode")
_IGNORED = {"ChecksumAlgorithm", "ChecksumMode"}  # a SHA-256 is always made and compared


@dataclasses.dataclass(frozen=True)
class Settings:
    """`subject`: the end user on whose behalf; a function is asked for every transfer. One attempt of a transfer is one
    transaction; `retry` says how many. `vendor` and `gatekeeper` should then not repeat by themselves. `metadata`: asked for
    every call of the gatekeeper."""

    vendor: Vendor
    gatekeeper: Gatekeeper
    gatekeeper_name: str
    subject: str | Callable[[], str]
    account: str = ""
    purpose: str = ""
    lifetime: int | None = None
    retry: Retry = Retry()
    metadata: Callable[[], Metadata] = tuple


def _checked(extra: Mapping[str, Any] | None, ours: tuple[str, ...], boto3s: list[str]) -> dict[str, Any]:
    for name in extra or {}:
        if name not in boto3s:
            raise ValueError(f"Invalid extra_args key '{name}', must be one of: {', '.join(boto3s)}")
        if name not in ours:
            raise ValueError(f"extra_args key '{name}' is not supported by twokey, which has: {', '.join(ours)}")
    return {name: value for name, value in (extra or {}).items() if name not in _IGNORED}


def _path(filename: Any) -> str:
    if isinstance(filename, os.PathLike):
        filename = os.fspath(filename)
    if not isinstance(filename, str):
        raise ValueError("Filename must be a string or a path-like object")
    return filename


class _Steps:
    """Tells a boto3 callback of each step. A repetition takes back what was told before, as boto3 does."""

    def __init__(self, callback: Callback | None) -> None:
        self.callback, self.told = callback, 0

    def __call__(self, done: int, total: int | None) -> None:
        if self.callback and done != self.told:
            step, self.told = done - self.told, done
            self.callback(step)

    def again(self) -> None:
        self(0, None)

    @property
    def progress(self) -> Progress | None:
        return self if self.callback else None


class S3Client:
    """Has upload_file, download_file, upload_fileobj and download_fileobj of a boto3 S3 client. Thread-safe.

    `Config` is accepted and not needed: a transfer is one stream. Nothing is written over that boto3 would not write
    over; objects are sealed before they reach the bucket."""

    exceptions = SimpleNamespace(ClientError=ClientError)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def close(self) -> None:
        self.settings.vendor.close()
        self.settings.gatekeeper.close()

    # ---- boto3's names and order of arguments ----
    def upload_file(self, Filename: str | os.PathLike[str], Bucket: str, Key: str,
                    ExtraArgs: Mapping[str, Any] | None = None, Callback: Callback | None = None,
                    Config: Any = None) -> None:
        path, extra = _path(Filename), _checked(ExtraArgs, _UPLOAD_ARGS, S3Transfer.ALLOWED_UPLOAD_ARGS)
        try:
            with open(path, "rb") as source:
                self._upload(source, Bucket, Key, extra, Callback)
        except ClientError as error:
            raise S3UploadFailedError(f"Failed to upload {path} to {Bucket}/{Key}: {error}") from error

    def upload_fileobj(self, Fileobj: Readable, Bucket: str, Key: str, ExtraArgs: Mapping[str, Any] | None = None,
                       Callback: Callback | None = None, Config: Any = None) -> None:
        if not hasattr(Fileobj, "read"):
            raise ValueError("Fileobj must implement read")
        self._upload(Fileobj, Bucket, Key, _checked(ExtraArgs, _UPLOAD_ARGS, S3Transfer.ALLOWED_UPLOAD_ARGS), Callback)

    def download_file(self, Bucket: str, Key: str, Filename: str | os.PathLike[str],
                      ExtraArgs: Mapping[str, Any] | None = None, Callback: Callback | None = None,
                      Config: Any = None) -> None:
        path, extra = _path(Filename), _checked(ExtraArgs, _DOWNLOAD_ARGS, S3Transfer.ALLOWED_DOWNLOAD_ARGS)
        steps = _Steps(Callback)

        def once() -> None:
            steps.again()
            envelope = self._authorize("GET", Bucket, Key, version_id=extra.get("VersionId", "")).envelope
            self.settings.gatekeeper.fetch_file(envelope, path, progress=steps.progress,
                                                metadata=self.settings.metadata())

        self._try(once, DOWNLOAD, lambda: True)

    def download_fileobj(self, Bucket: str, Key: str, Fileobj: Writable, ExtraArgs: Mapping[str, Any] | None = None,
                         Callback: Callback | None = None, Config: Any = None) -> None:
        if not hasattr(Fileobj, "write"):
            raise ValueError("Fileobj must implement write")
        extra = _checked(ExtraArgs, _DOWNLOAD_ARGS, S3Transfer.ALLOWED_DOWNLOAD_ARGS)
        sink, steps = _Sink(Fileobj), _Steps(Callback)

        def once() -> None:
            steps.again()
            envelope = self._authorize("GET", Bucket, Key, version_id=extra.get("VersionId", "")).envelope
            self.settings.gatekeeper.fetch(envelope, sink, progress=steps.progress,
                                           metadata=self.settings.metadata())

        self._try(once, DOWNLOAD, sink.rewind)

    # ---- what they share ----
    def _authorize(self, operation: Any, bucket: str, key: str, **more: Any) -> Authorized:
        settings = self.settings
        subject = settings.subject() if callable(settings.subject) else settings.subject
        return settings.vendor.authorize(operation, bucket, key, gatekeeper=settings.gatekeeper_name, subject=subject,
                                         account=settings.account, purpose=settings.purpose, lifetime=settings.lifetime,
                                         holder=settings.gatekeeper.holder, **more)

    def _upload(self, source: Readable, bucket: str, key: str, extra: dict[str, Any], callback: Callback | None) -> None:
        content_type, digest = extra.get("ContentType", ""), extra.get("ChecksumSHA256")
        rewinder, steps, counted = Rewinder(source), _Steps(callback), _Counted(source)

        def once() -> None:
            steps.again()
            envelope = self._authorize("PUT", bucket, key, overwrite=True, content_type=content_type,
                                       content_sha256=base64.b64decode(digest) if digest else None).envelope
            self.settings.gatekeeper.store(envelope, counted, content_type=content_type, size=rewinder.size(),
                                           progress=steps.progress, metadata=self.settings.metadata())

        self._try(once, UPLOAD, lambda: not counted.touched or rewinder.rewind())

    def _try(self, once: Callable[[], None], operation: str, may_repeat: Callable[[], bool]) -> None:
        """Every attempt is a new transaction."""
        with _boto3_errors(operation, self.settings):
            self.settings.retry.call(lambda _: once(), None, may_repeat)


@contextmanager
def _boto3_errors(operation: str, settings: Settings) -> Iterator[None]:
    try:
        yield
    except TwokeyError as error:
        raise as_boto3(error, operation, settings.gatekeeper.address) from error


class _Counted:
    """Knows whether anything was read, and hides that the source can be rewound: we do that ourselves, with a new
    transaction."""

    def __init__(self, source: Readable) -> None:
        self.source, self.touched = source, False

    def read(self, size: int, /) -> bytes:
        self.touched = True
        return self.source.read(size)


class _Sink:
    """What a download is written to: as boto3 does, from its beginning when it can seek, and from where it stands when
    not."""

    def __init__(self, out: Writable) -> None:
        self.out, self.touched = out, False

    def write(self, data: bytes, /) -> object:
        if not self.touched and isinstance(self.out, io.IOBase) and self.out.seekable():
            self.out.seek(0)
        self.touched = True
        return self.out.write(data)

    def rewind(self) -> bool:
        """Can it be written again from the beginning?"""
        again = not self.touched or (isinstance(self.out, io.IOBase) and self.out.seekable())
        self.touched = self.touched and not again
        return again


class S3Object:
    """An S3.Object's transfers."""

    def __init__(self, client: S3Client, bucket_name: str, key: str) -> None:
        self._client, self.bucket_name, self.key = client, bucket_name, key

    def upload_file(self, Filename: str | os.PathLike[str], ExtraArgs: Mapping[str, Any] | None = None,
                    Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.upload_file(Filename, self.bucket_name, self.key, ExtraArgs, Callback, Config)

    def upload_fileobj(self, Fileobj: Readable, ExtraArgs: Mapping[str, Any] | None = None,
                       Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.upload_fileobj(Fileobj, self.bucket_name, self.key, ExtraArgs, Callback, Config)

    def download_file(self, Filename: str | os.PathLike[str], ExtraArgs: Mapping[str, Any] | None = None,
                      Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.download_file(self.bucket_name, self.key, Filename, ExtraArgs, Callback, Config)

    def download_fileobj(self, Fileobj: Writable, ExtraArgs: Mapping[str, Any] | None = None,
                         Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.download_fileobj(self.bucket_name, self.key, Fileobj, ExtraArgs, Callback, Config)


class S3Bucket:
    """An S3.Bucket's transfers."""

    def __init__(self, client: S3Client, name: str) -> None:
        self._client, self.name = client, name

    def Object(self, key: str) -> S3Object:
        return S3Object(self._client, self.name, key)

    def upload_file(self, Filename: str | os.PathLike[str], Key: str, ExtraArgs: Mapping[str, Any] | None = None,
                    Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.upload_file(Filename, self.name, Key, ExtraArgs, Callback, Config)

    def upload_fileobj(self, Fileobj: Readable, Key: str, ExtraArgs: Mapping[str, Any] | None = None,
                       Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.upload_fileobj(Fileobj, self.name, Key, ExtraArgs, Callback, Config)

    def download_file(self, Key: str, Filename: str | os.PathLike[str], ExtraArgs: Mapping[str, Any] | None = None,
                      Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.download_file(self.name, Key, Filename, ExtraArgs, Callback, Config)

    def download_fileobj(self, Key: str, Fileobj: Writable, ExtraArgs: Mapping[str, Any] | None = None,
                         Callback: Callback | None = None, Config: Any = None) -> None:
        self._client.download_fileobj(self.name, Key, Fileobj, ExtraArgs, Callback, Config)


class S3Resource:
    """boto3.resource("s3"), as far as its transfers go."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self.meta = SimpleNamespace(client=client)

    def Bucket(self, name: str) -> S3Bucket:
        return S3Bucket(self._client, name)

    def Object(self, bucket_name: str, key: str) -> S3Object:
        return S3Object(self._client, bucket_name, key)


__all__ = ["S3Bucket", "S3Client", "S3Object", "S3Resource", "Settings"]
