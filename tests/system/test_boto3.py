"""boto3's own call patterns, each against boto3 on a bucket, and against `from twokey import boto3` on a vendor and a
gatekeeper with the same S3 server underneath."""
import base64
import contextlib
import hashlib
import io
import os
import pathlib
import threading
from concurrent import futures

import pytest
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from support import s3
from support.deployment import BACKEND
from support.process import free_port

RULES = """
version: 1
rules:
  - name: strangers
    effect: deny
    users: [stranger]
  - name: everybody-else
    effect: allow
"""


@pytest.fixture(scope="module")
def guarded(make_module_system, versitygw):
    return make_module_system(store=versitygw, rules=RULES)


def environment_of(system, **more):
    paths = system.identities[BACKEND]
    return {"TWOKEY_VENDOR": system.vendor.address, "TWOKEY_GATEKEEPER": system.gatekeeper.address,
            "TWOKEY_GATEKEEPER_NAME": "gatekeeper", "TWOKEY_CA": str(system.authority.path), "TWOKEY_SUBJECT": "dr.bell",
            "TWOKEY_CERT": str(paths.certificate), "TWOKEY_KEY": str(paths.key),
            "TWOKEY_AUDIT_KEY": str(system.gatekeeper.audit_pem), **more}


@contextlib.contextmanager
def in_environment(values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


class Side:
    """One import, and what a test asks of it."""

    def __init__(self, name, module, bucket, options, environment):
        self.name, self.module, self.bucket, self.options, self.environment = name, module, bucket, options, environment
        self.s3 = self.client()

    def client(self, kind="client", **more):
        with in_environment(self.environment):
            return getattr(self.module, kind)("s3", **{**self.options, **more})

    def stranger(self):
        """A client that may nothing."""
        if self.name == "boto3":
            return self.client(aws_secret_access_key="wrong")
        with in_environment({"TWOKEY_SUBJECT": "stranger"}):
            return Side(self.name, self.module, self.bucket, self.options,
                        {**self.environment, "TWOKEY_SUBJECT": "stranger"}).s3

    def nobody(self):
        """A client of a server that is not there."""
        if self.name == "boto3":
            return self.client(endpoint_url=f"https://127.0.0.1:{free_port()}")
        return Side(self.name, self.module, self.bucket, self.options,
                    {**self.environment, "TWOKEY_GATEKEEPER": f"127.0.0.1:{free_port()}"}).s3


@pytest.fixture(scope="module")
def sides(versitygw, guarded):
    import boto3
    from twokey import boto3 as ours

    versitygw.make_bucket("plain")
    options = {"endpoint_url": versitygw.endpoint, "region_name": s3.REGION, "aws_access_key_id": s3.ACCESS,
               "aws_secret_access_key": s3.SECRET, "verify": str(versitygw.ca),
               "config": Config(signature_version="s3v4", request_checksum_calculation="when_required", s3={"addressing_style": "path"}, retries={"max_attempts": 1})}
    return {"boto3": Side("boto3", boto3, "plain", options, {}),
            "twokey": Side("twokey", ours, guarded.bucket, options, environment_of(guarded))}


@pytest.fixture(params=["boto3", "twokey"])
def side(request, sides, monkeypatch):
    for name, value in sides[request.param].environment.items():
        monkeypatch.setenv(name, value)
    return sides[request.param]


class Steps:
    """A Callback, as boto3's documentation writes it: with a lock, since it is called from other threads."""

    def __init__(self):
        self.lock, self.sum, self.calls = threading.Lock(), 0, 0

    def __call__(self, amount):
        with self.lock:
            assert isinstance(amount, int)
            self.sum, self.calls = self.sum + amount, self.calls + 1


SIZES = [0, 1, 300_000, 20_000_000]  # boto3 sends the last one in parts


@pytest.mark.parametrize("size", SIZES)
def test_files_there_and_back(side, tmp_path, size):
    data, up, down = os.urandom(size), Steps(), Steps()
    (tmp_path / "in").write_bytes(data)
    key = f"files/{size}"
    assert side.s3.upload_file(str(tmp_path / "in"), side.bucket, key, Callback=up) is None
    assert side.s3.download_file(side.bucket, key, str(tmp_path / "out"), Callback=down) is None
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert up.sum == down.sum == size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("size", SIZES)
def test_file_objects_there_and_back(side, size):
    data, up, down = os.urandom(size), Steps(), Steps()
    assert side.s3.upload_fileobj(io.BytesIO(data), side.bucket, f"objects/{size}", Callback=up) is None
    out = io.BytesIO()
    assert side.s3.download_fileobj(side.bucket, f"objects/{size}", out, Callback=down) is None
    assert out.getvalue() == data and up.sum == down.sum == size


def test_names_of_arguments(side, tmp_path):
    (tmp_path / "in").write_bytes(b"named")
    config = TransferConfig(multipart_threshold=1 << 20, max_concurrency=2)
    side.s3.upload_file(Filename=str(tmp_path / "in"), Bucket=side.bucket, Key="named", ExtraArgs={"ContentType": "text/x"},
                        Callback=None, Config=config)
    side.s3.download_file(Bucket=side.bucket, Key="named", Filename=str(tmp_path / "out"), ExtraArgs=None, Callback=None,
                          Config=config)
    with open(tmp_path / "in", "rb") as source:
        side.s3.upload_fileobj(Fileobj=source, Bucket=side.bucket, Key="named2", ExtraArgs={}, Config=config)
    out = io.BytesIO()
    side.s3.download_fileobj(Bucket=side.bucket, Key="named2", Fileobj=out, ExtraArgs={}, Config=config)
    assert (tmp_path / "out").read_bytes() == out.getvalue() == b"named"


def test_paths_may_be_path_objects(side, tmp_path):
    (tmp_path / "in").write_bytes(b"path")
    side.s3.upload_file(tmp_path / "in", side.bucket, "pathlib")
    side.s3.download_file(side.bucket, "pathlib", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"path"
    for wrong in (7, b"bytes", io.BytesIO()):
        with pytest.raises(ValueError, match="Filename must be a string or a path-like object"):
            side.s3.upload_file(wrong, side.bucket, "pathlib")
        with pytest.raises(ValueError, match="Filename must be a string or a path-like object"):
            side.s3.download_file(side.bucket, "pathlib", wrong)


def test_an_upload_replaces_and_so_does_a_download(side, tmp_path):
    for data in (b"first", b"second"):
        side.s3.upload_fileobj(io.BytesIO(data), side.bucket, "replaced")
        side.s3.download_file(side.bucket, "replaced", str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == data


def test_buckets_and_objects(side, tmp_path):
    resource = side.client("resource")
    (tmp_path / "in").write_bytes(b"by resource")
    bucket, entity = resource.Bucket(side.bucket), resource.Object(side.bucket, "resource/object")
    assert (entity.bucket_name, entity.key, bucket.name) == (side.bucket, "resource/object", side.bucket)
    up, down = Steps(), Steps()
    entity.upload_file(str(tmp_path / "in"), Callback=up)
    entity.download_file(str(tmp_path / "object"), Callback=down)
    bucket.upload_file(str(tmp_path / "in"), "resource/bucket", Callback=up)
    bucket.download_file("resource/bucket", str(tmp_path / "bucket"), Callback=down)
    assert up.sum == down.sum == 2 * len(b"by resource")
    entity.upload_fileobj(io.BytesIO(b"1"))
    bucket.upload_fileobj(Fileobj=io.BytesIO(b"2"), Key="resource/bucket2")
    outs = io.BytesIO(), io.BytesIO()
    bucket.Object("resource/object").download_fileobj(outs[0])
    bucket.download_fileobj(Key="resource/bucket2", Fileobj=outs[1])
    assert [out.getvalue() for out in outs] == [b"1", b"2"]
    assert (tmp_path / "object").read_bytes() == (tmp_path / "bucket").read_bytes() == b"by resource"


# ---- file objects of all kinds ----
def test_from_where_the_file_stands(side):
    """An upload from there; a download to the beginning, and what is longer stays: boto3 does so."""
    source, out = io.BytesIO(b"0123456789"), io.BytesIO(b"abcdefgh")
    source.seek(4)
    out.seek(3)
    up = Steps()
    side.s3.upload_fileobj(source, side.bucket, "stands", Callback=up)
    side.s3.download_fileobj(side.bucket, "stands", out)
    assert up.sum == 6 and out.getvalue() == b"456789gh"


class OnlyReads:
    """The least that can be uploaded."""

    def __init__(self, data):
        self.rest = io.BytesIO(data)

    def read(self, size=-1):
        return self.rest.read(size)


class OnlyWrites:
    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


@pytest.mark.parametrize("size", [0, 10, 9_000_000])
def test_streams_that_cannot_seek(side, size):
    data, out = os.urandom(size), OnlyWrites()
    side.s3.upload_fileobj(OnlyReads(data), side.bucket, f"stream/{size}")
    side.s3.download_fileobj(side.bucket, f"stream/{size}", out)
    assert out.data == data
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb") as end:
            end.write(data)

    with open(reading, "rb") as source, futures.ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        side.s3.upload_fileobj(source, side.bucket, f"pipe/{size}")
        written.result(60)
    again = io.BytesIO()
    side.s3.download_fileobj(side.bucket, f"pipe/{size}", again)
    assert again.getvalue() == data


def test_what_is_no_file_object(side):
    with pytest.raises(ValueError, match="Fileobj must implement read"):
        side.s3.upload_fileobj(b"bytes", side.bucket, "x")
    with pytest.raises(ValueError, match="Fileobj must implement write"):
        side.s3.download_fileobj(side.bucket, "x", "a name")


# ---- exceptions ----
def expect(raised, status, code):
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status, raised.value.response
    assert raised.value.response["Error"]["Code"] == code, raised.value.response


def test_download_of_nothing_is_404(side, tmp_path):
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with pytest.raises(ClientError) as raised:
        side.s3.download_file(side.bucket, "no/such/key", str(out))
    expect(raised, 404, "404")
    assert raised.value.operation_name == "HeadObject" and raised.value.response["Error"]["Message"] == "Not Found"
    assert str(raised.value) == "An error occurred (404) when calling the HeadObject operation: Not Found"
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]
    with pytest.raises(side.s3.exceptions.ClientError) as raised:
        side.s3.download_fileobj(side.bucket, "no/such/key", io.BytesIO())
    expect(raised, 404, "404")


def test_who_may_not_gets_403(side, tmp_path):
    side.s3.upload_fileobj(io.BytesIO(b"x"), side.bucket, "forbidden")
    stranger = side.stranger()
    with pytest.raises(ClientError) as raised:
        stranger.download_file(side.bucket, "forbidden", str(tmp_path / "out"))
    expect(raised, 403, "403")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ClientError) as raised:
        stranger.upload_fileobj(io.BytesIO(), side.bucket, "forbidden")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert raised.value.operation_name == "PutObject"
    (tmp_path / "in").touch()
    with pytest.raises(S3UploadFailedError, match="Failed to upload .*/in to .*/forbidden: An error occurred"):
        stranger.upload_file(str(tmp_path / "in"), side.bucket, "forbidden")
    assert side.module.exceptions.S3UploadFailedError is S3UploadFailedError


# An empty body: versitygw refuses an upload without reading it, and boto3 may then see the broken connection first.
def test_no_such_bucket(side, tmp_path):
    (tmp_path / "in").touch()
    with pytest.raises(S3UploadFailedError, match="NoSuchBucket"):
        side.s3.upload_file(str(tmp_path / "in"), "nowhere", "x")
    with pytest.raises(ClientError) as raised:
        side.s3.upload_fileobj(io.BytesIO(), "nowhere", "x")
    expect(raised, 404, "NoSuchBucket")
    with pytest.raises(ClientError) as raised:
        side.s3.download_file("nowhere", "x", str(tmp_path / "out"))
    expect(raised, 404, "404")


def test_nobody_there(side, tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    nobody = side.nobody()
    with pytest.raises(EndpointConnectionError):
        nobody.upload_file(str(tmp_path / "in"), side.bucket, "x")
    with pytest.raises(EndpointConnectionError):
        nobody.download_file(side.bucket, "x", str(tmp_path / "out"))


def test_files_that_are_not_there(side, tmp_path):
    with pytest.raises(FileNotFoundError):
        side.s3.upload_file(str(tmp_path / "none"), side.bucket, "x")
    side.s3.upload_fileobj(io.BytesIO(b"x"), side.bucket, "into-nowhere")
    with pytest.raises(FileNotFoundError):
        side.s3.download_file(side.bucket, "into-nowhere", str(tmp_path / "no" / "folder"))


def test_extra_arguments(side):
    side.s3.upload_fileobj(io.BytesIO(b"x"), side.bucket, "extra", ExtraArgs={"ContentType": "text/plain",
                                                                              "ChecksumAlgorithm": "SHA256"})
    with pytest.raises(ValueError, match="Invalid extra_args key 'Nonsense', must be one of"):
        side.s3.upload_fileobj(io.BytesIO(b"x"), side.bucket, "extra", ExtraArgs={"Nonsense": 1})
    with pytest.raises(ValueError, match="Invalid extra_args key 'ContentType', must be one of"):
        side.s3.download_fileobj(side.bucket, "extra", io.BytesIO(), ExtraArgs={"ContentType": "x"})
    digest = base64.b64encode(hashlib.sha256(b"right").digest()).decode()
    side.s3.upload_fileobj(io.BytesIO(b"right"), side.bucket, "checked", ExtraArgs={"ChecksumSHA256": digest})
    with pytest.raises(ClientError) as raised:
        side.s3.upload_fileobj(io.BytesIO(b"wrong"), side.bucket, "checked", ExtraArgs={"ChecksumSHA256": digest})
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    out = io.BytesIO()
    side.s3.download_fileobj(side.bucket, "checked", out)
    assert out.getvalue() == b"right"


def test_a_callback_that_fails_ends_the_transfer(side, tmp_path):
    def fail(_):
        raise ZeroDivisionError("a callback's own")

    with pytest.raises(ZeroDivisionError):
        side.s3.upload_fileobj(io.BytesIO(b"x" * 1000), side.bucket, "callback", Callback=fail)
    side.s3.upload_fileobj(io.BytesIO(b"x" * 1000), side.bucket, "callback2")
    with pytest.raises(ZeroDivisionError):
        side.s3.download_file(side.bucket, "callback2", str(tmp_path / "out"), Callback=fail)
    assert not list(tmp_path.iterdir())


def test_threads_share_a_client(side, tmp_path):
    def one(number):
        data, path = os.urandom(100_000 + number), tmp_path / str(number)
        path.write_bytes(data)
        side.s3.upload_file(str(path), side.bucket, f"threads/{number}")
        side.s3.download_file(side.bucket, f"threads/{number}", f"{path}.out")
        return pathlib.Path(f"{path}.out").read_bytes() == data

    with futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(32)))


# ---- what only ours has ----
def test_what_is_not_ours_says_so(sides, monkeypatch):
    ours = sides["twokey"]
    with pytest.raises(ValueError, match="not supported by twokey"):
        ours.s3.upload_fileobj(io.BytesIO(b"x"), ours.bucket, "x", ExtraArgs={"Metadata": {"a": "b"}})
    with pytest.raises(ValueError, match="use boto3 itself"):
        ours.module.client("ec2")
    with pytest.raises(TypeError, match="unexpected keyword"):
        ours.module.client("s3", colour="blue")
    with pytest.raises(AttributeError):
        ours.s3.put_bucket_policy(Bucket="x")
    monkeypatch.delenv("TWOKEY_VENDOR", raising=False)
    with pytest.raises(ValueError, match="TWOKEY_VENDOR"):
        ours.module.client("s3")


def test_a_refusal_has_the_reason_and_the_record(sides):
    ours = sides["twokey"]
    with pytest.raises(ClientError) as raised:
        ours.stranger().upload_fileobj(io.BytesIO(b"x"), ours.bucket, "x")
    told = raised.value.response["Error"]
    assert told["Reason"] == "RULE_DENIED" and isinstance(told["Record"], int) and str(told["Record"]) in told["Message"]


def test_on_whose_behalf(sides, guarded):
    """Each thread for its own user; the record knows."""
    from support.deployment import AUDITOR

    ours = sides["twokey"]

    def one(number):
        with ours.module.acting_for(f"user-{number}"):
            ours.s3.upload_fileobj(io.BytesIO(b"x"), ours.bucket, f"behalf/{number}")

    with in_environment(ours.environment), futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(8)))
        ours.s3.upload_fileobj(io.BytesIO(b"x"), ours.bucket, "behalf/8")
    auditor = guarded.client("gatekeeper", AUDITOR)
    committed = auditor.search(limit=1)[1].committed
    found, _ = auditor.search(object_prefix="behalf/", bucket=ours.bucket, wait_for_index=committed - 1)
    assert {(record.object, record.subject) for record in found} == {
        *((f"behalf/{number}", f"user-{number}") for number in range(8)), ("behalf/8", "dr.bell")}


def test_the_bucket_sees_nothing_of_it(sides, versitygw):
    """Underneath are sealed objects; boto3 itself stores what it is given."""
    for side in sides.values():
        with in_environment(side.environment):
            side.s3.upload_fileobj(io.BytesIO(b"a line that can be found"), side.bucket, "sealed")
    raw = {name: versitygw.client().get_object(Bucket=side.bucket, Key="sealed")["Body"].read() for name, side in sides.items()}
    assert b"can be found" in raw["boto3"] and b"can be found" not in raw["twokey"]
