"""Change one import: `from twokey import boto3` instead of `import boto3`.

client("s3") and resource("s3") have boto3's upload_file, download_file, upload_fileobj and download_fileobj. Whom to ask
is said by `configure`, or by the environment:

    TWOKEY_VENDOR, TWOKEY_GATEKEEPER    HOST:PORT of both deployments
    TWOKEY_GATEKEEPER_NAME              the gatekeeper's name in its configuration
    TWOKEY_CA, TWOKEY_CERT, TWOKEY_KEY  as for the `twokey` command: PEM files
    TWOKEY_GATEKEEPER_CA                when another authority has signed the gatekeeper's certificate
    TWOKEY_SUBJECT, TWOKEY_ACCOUNT      on whose behalf; `acting_for` says so for each request
    TWOKEY_AUDIT_KEY                    the gatekeeper's NAME.audit.pem: receipts' signatures are verified"""
from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any

from boto3 import exceptions

from twokey.channel import Metadata, Tls
from twokey.gatekeeper import Gatekeeper
from twokey.holder import HolderKey
from twokey.retry import Retry
from twokey.s3 import S3Client, S3Resource, Settings
from twokey.vendor import Vendor

__all__ = ["acting_for", "client", "configure", "exceptions", "resource"]

# What boto3.client takes besides the service. The gatekeeper has the credentials, and knows where the bucket is.
_ACCEPTED = {"region_name", "api_version", "use_ssl", "verify", "endpoint_url", "aws_access_key_id", "aws_secret_access_key",
             "aws_session_token", "config", "aws_account_id"}

_subject: contextvars.ContextVar[str] = contextvars.ContextVar("twokey_subject")
_metadata: contextvars.ContextVar[Metadata] = contextvars.ContextVar("twokey_metadata", default=())
_configured: Settings | None = None
_once = Retry(attempts=1)


@contextlib.contextmanager
def acting_for(subject: str, metadata: Metadata = ()) -> Iterator[None]:
    """Transfers in here, of this thread or task, are on behalf of that end user; `metadata` goes to the gatekeeper with
    them."""
    tokens = _subject.set(subject), _metadata.set(tuple(metadata))
    try:
        yield
    finally:
        _subject.reset(tokens[0])
        _metadata.reset(tokens[1])


def configure(settings: Settings | None) -> None:
    """For all clients made from now on; None: the environment says."""
    global _configured
    _configured = settings


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"twokey.boto3 needs {name} in the environment, or twokey.boto3.configure(...)")
    return value


def _who(standard: str) -> str:
    subject = _subject.get(standard)
    if not subject:
        raise ValueError("on whose behalf? twokey.boto3 needs TWOKEY_SUBJECT in the environment, or acting_for(...)")
    return subject


def _from_environment() -> Settings:
    ca = os.environ.get("TWOKEY_CA")
    audit_key = os.environ.get("TWOKEY_AUDIT_KEY")
    vendor = Vendor(_needed("TWOKEY_VENDOR"), Tls(ca=ca, certificate=_needed("TWOKEY_CERT"), key=_needed("TWOKEY_KEY")),
                    retry=_once)
    gatekeeper = Gatekeeper(_needed("TWOKEY_GATEKEEPER"), Tls(ca=os.environ.get("TWOKEY_GATEKEEPER_CA", ca)), retry=_once,
                            holder=HolderKey.generate(), audit_keys=[audit_key] if audit_key else [])
    standard = os.environ.get("TWOKEY_SUBJECT", "")
    return Settings(vendor, gatekeeper, _needed("TWOKEY_GATEKEEPER_NAME"), lambda: _who(standard),
                    account=os.environ.get("TWOKEY_ACCOUNT", ""), metadata=_metadata.get)


def client(service_name: str, **options: Any) -> S3Client:
    """boto3.client: the options that boto3 has are accepted, and not needed."""
    if service_name != "s3":
        raise ValueError(f"twokey.boto3 has `s3`, not `{service_name}`: use boto3 itself for it")
    unknown = set(options) - _ACCEPTED
    if unknown:
        raise TypeError(f"client() got an unexpected keyword argument '{min(unknown)}'")
    return S3Client(_configured or _from_environment())


def resource(service_name: str, **options: Any) -> S3Resource:
    """boto3.resource, as far as the transfers of Bucket and Object go."""
    return S3Resource(client(service_name, **options))
