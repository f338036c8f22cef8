"""clients/python, the package `twokey`: as a user of it would, and built and installed as a wheel."""
import hashlib
import io
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from concurrent import futures

import grpc
import pytest

from support import dsse
from support.deployment import BACKEND
from support.process import free_port
from support.stubs import ROOT

PACKAGE = ROOT / "clients" / "python"
WHO = {"gatekeeper": "gatekeeper", "subject": "dr.bell"}


def tls(system, identity=None):
    from twokey import Tls

    paths = system.identities.get(identity)
    return Tls(ca=system.authority.path, certificate=paths and paths.certificate, key=paths and paths.key)


@pytest.fixture(scope="module")
def vendor(system):
    from twokey import Vendor

    with Vendor(system.vendor.address, tls(system, BACKEND)) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def holder():
    from twokey import HolderKey

    return HolderKey.generate()


def gatekeeper_of(system, **options):
    from twokey import Gatekeeper

    return Gatekeeper(system.gatekeeper.address, tls(system), audit_keys=[system.gatekeeper.audit_pem],
                      transaction_keys=[system.gatekeeper.transaction_pem], **options)


@pytest.fixture(scope="module")
def gatekeeper(system, holder):
    with gatekeeper_of(system, holder=holder) as made:
        yield made


def test_the_main_job(system, vendor, gatekeeper, holder, tmp_path):
    from twokey import NotFound, transaction_of

    data = os.urandom(1_500_000)
    (tmp_path / "in").write_bytes(data)
    made = vendor.authorize("PUT", "reports", "package/a", holder=holder, purpose="why", exact_bytes=len(data), **WHO)
    assert transaction_of(made.envelope).purpose == "why" and transaction_of(made.envelope).id == made.transaction_id
    cosigned = gatekeeper.cosign(made.envelope)
    assert len(cosigned.signatures) == 2
    seen = []
    stored = gatekeeper.store_file(cosigned, tmp_path / "in", content_type="image/x", progress=lambda *step: seen.append(step))
    assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).digest())
    assert seen[-1] == (len(data), len(data)) and seen == sorted(seen)

    seen.clear()
    get = vendor.authorize("GET", "reports", "package/a", holder=holder, **WHO).envelope
    fetched = gatekeeper.fetch_file(get, tmp_path / "out", progress=lambda *step: seen.append(step))
    assert (tmp_path / "out").read_bytes() == data and seen[-1] == (len(data), len(data))
    assert (fetched.content_type, fetched.object_size, fetched.sha256) == ("image/x", len(data), stored.sha256)
    part = io.BytesIO()
    some = vendor.authorize("GET", "reports", "package/a", holder=holder, byte_range=(1000, 10), **WHO).envelope
    assert gatekeeper.fetch(some, part).first == 1000 and part.getvalue() == data[1000:1010]

    listing = gatekeeper.list(vendor.authorize("LIST", "reports", "package/", holder=holder, **WHO).envelope)
    assert [(entry.object, entry.size) for entry in listing.objects] == [("package/a", len(data))]
    gatekeeper.remove(vendor.authorize("DELETE", "reports", "package/a", holder=holder, **WHO).envelope)
    with pytest.raises(NotFound) as refused:
        gatekeeper.fetch(vendor.authorize("GET", "reports", "package/a", holder=holder, **WHO).envelope, io.BytesIO())
    assert refused.value.reason == "OBJECT_NOT_FOUND" and refused.value.record is not None


def test_a_refusal_has_reason_and_record(system, vendor, holder):
    from twokey import CallError, Refused

    envelope = vendor.authorize("GET", "reports", "x", holder=holder, **WHO).envelope
    with gatekeeper_of(system) as without_key:  # no holder key at all
        with pytest.raises(Refused) as refused:
            without_key.cosign(envelope)
    assert refused.value.reason == "HOLDER_PROOF_INVALID" and refused.value.code == grpc.StatusCode.UNAUTHENTICATED
    assert f"(record {refused.value.record})" in str(refused.value)
    from twokey import Vendor

    with Vendor(system.vendor.address, tls(system)) as stranger, pytest.raises(CallError) as refused:
        stranger.authorize("GET", "reports", "x", **WHO)
    assert refused.value.reason == "CALLER_UNAUTHENTICATED"


def test_json_is_the_commands(system, vendor, gatekeeper, holder, tmp_path):
    """Envelopes and holder keys go from the package to the command, and back."""
    from twokey import HolderKey, envelope_from_json, envelope_to_json

    holder.save(tmp_path / "key")
    assert HolderKey.load(tmp_path / "key").sha256 == holder.sha256
    shown = system.twokey("holder", "show", tmp_path / "key")
    assert shown.out.decode().strip() == holder.sha256.hex()
    (tmp_path / "put.json").write_text(envelope_to_json(vendor.authorize("PUT", "reports", "package/j", holder=holder,
                                                                         **WHO).envelope))
    done = system.twokey("store", *system.connection(), "--holder-key", tmp_path / "key", tmp_path / "put.json", "-",
                         stdin=b"by the command")
    assert done.code == 0, done.err
    (tmp_path / "key.pub").write_bytes(holder.public_pem)
    done = system.twokey("authorize", *system.connection("vendor", BACKEND), "get", "reports/package/j", "--gatekeeper",
                         "gatekeeper", "--subject", "dr.bell", "--holder", tmp_path / "key.pub")
    out = io.BytesIO()
    gatekeeper.fetch(envelope_from_json(done.out), out)
    assert out.getvalue() == b"by the command"
    with pytest.raises(FileExistsError):
        holder.save(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(PermissionError):
        HolderKey.load(tmp_path / "key")
    for text in ("{}", "[]", "no", '{"payload": "!", "payloadType": "x", "signatures": []}'):
        with pytest.raises(ValueError):
            envelope_from_json(text)


def test_a_failed_fetch_leaves_the_old_file(system, vendor, gatekeeper, holder, tmp_path):
    from twokey import NotFound

    out = tmp_path / "out"
    out.write_bytes(b"old")
    with pytest.raises(NotFound):
        gatekeeper.fetch_file(vendor.authorize("GET", "reports", "none", holder=holder, **WHO).envelope, out)
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]


class Breaks(io.RawIOBase):
    """A source that fails in the middle."""

    def __init__(self):
        self.left = 3

    def readable(self):
        return True

    def read(self, size=-1):
        if not self.left:
            raise OSError("the disk has failed")
        self.left -= 1
        return bytes(size)


def test_a_failing_source_is_the_callers_error_and_nothing_is_stored(system, vendor, gatekeeper, holder):
    from twokey import NotFound

    envelope = vendor.authorize("PUT", "reports", "package/broken", holder=holder, **WHO).envelope
    with pytest.raises(OSError, match="the disk has failed"):
        gatekeeper.store(envelope, Breaks())

    def complain(done, total):
        raise RuntimeError("a callback's own")

    with pytest.raises(RuntimeError, match="a callback's own"):
        gatekeeper.store(vendor.authorize("PUT", "reports", "package/broken", holder=holder, **WHO).envelope, b"x" * 1000000,
                         progress=complain)
    with pytest.raises(TypeError, match="binary"):
        gatekeeper.store(vendor.authorize("PUT", "reports", "package/broken", holder=holder, **WHO).envelope, io.StringIO("x"))
    with pytest.raises(NotFound):
        gatekeeper.fetch(vendor.authorize("GET", "reports", "package/broken", holder=holder, **WHO).envelope, io.BytesIO())


def test_threads_share_one_client(system, vendor, gatekeeper, holder):
    def one(number):
        data = os.urandom(1000 + number)
        name = f"package/thread-{number}"
        gatekeeper.store(vendor.authorize("PUT", "reports", name, holder=holder, **WHO).envelope, data)
        out = io.BytesIO()
        gatekeeper.fetch(vendor.authorize("GET", "reports", name, holder=holder, **WHO).envelope, out)
        return out.getvalue() == data

    with futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(40)))


# ---- what a gatekeeper that lies, or fails, can do ----
class Liar(grpc.GenericRpcHandler):
    """Passes calls on to a gatekeeper, and changes what it answers, or refuses for a while."""

    def __init__(self, system):
        self.channel = grpc.secure_channel(system.gatekeeper.address,
                                           grpc.ssl_channel_credentials(system.authority.path.read_bytes()))
        self.server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[self])
        self.address = f"127.0.0.1:{free_port()}"
        identity = system.server_identity
        self.server.add_secure_port(self.address, grpc.ssl_server_credentials([(identity.key.read_bytes(),
                                                                                identity.certificate.read_bytes())]))
        self.change, self.failures, self.after, self.calls, self.metadata = None, 0, False, 0, {}

    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._pass(details.method, requests, context))

    def _pass(self, method, requests, context):
        self.calls += 1
        self.metadata[method.rpartition("/")[2]] = dict(context.invocation_metadata())
        if self.failures and not self.after:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        try:
            answers = list(self.channel.stream_stream(method)(requests))
        except grpc.RpcError as error:
            context.set_trailing_metadata([(k, v) for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"])
            context.abort(error.code(), error.details())
        if self.failures:  # done, and the answer is lost
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        for answer in answers:
            yield self.change(answer) if self.change else answer


@pytest.fixture
def liar(system):
    made = Liar(system)
    made.server.start()
    yield made
    made.server.stop(None).wait()
    made.channel.close()


def liar_client(system, liar, sleeps, **options):
    from twokey import Gatekeeper, Retry

    return Gatekeeper(liar.address, tls(system), audit_keys=[system.gatekeeper.audit_pem],
                      transaction_keys=[system.gatekeeper.transaction_pem],
                      retry=Retry(attempts=4, sleep=sleeps.append, random=lambda: 1.0), **options)


def changed(type_name, change):
    """A change of one message type's answers."""
    from twokey.v1 import gatekeeper_pb2

    def apply(answer):
        message = getattr(gatekeeper_pb2, type_name).FromString(answer)
        change(message)
        return message.SerializeToString()

    return apply


def test_lies_are_found_out(system, liar, client):
    from twokey import IntegrityError

    system.put(client, "package/lied", b"the truth")
    other = client.store(system.propose("PUT", "package/other"), b"the truth")
    sleeps = []

    def drop(name):
        return lambda message: message.ClearField(name) if message.HasField(name) else None

    def set_chunk(message):
        if message.HasField("chunk"):
            message.chunk = b"THE TRUTH"

    def set_receipt(message):
        if message.HasField("tail"):
            message.tail.receipt.CopyFrom(other.receipt)

    def forge(message):
        if message.HasField("tail"):
            message.tail.receipt.signatures[0].sig = dsse.flip(message.tail.receipt.signatures[0].sig, 20)

    def no_tail(message):
        if message.HasField("tail"):
            message.chunk = b""

    with liar_client(system, liar, sleeps) as gatekeeper:
        for change in (set_chunk, set_receipt, forge, no_tail):
            liar.change = changed("FetchResponse", change)
            with pytest.raises(IntegrityError):
                gatekeeper.fetch(system.propose("GET", "package/lied"), io.BytesIO())
        liar.change = changed("CoSignResponse", lambda m: m.envelope.CopyFrom(system.propose("GET", "package/lied")))
        with pytest.raises(IntegrityError):
            gatekeeper.cosign(system.propose("GET", "package/lied"))
        liar.change = changed("StoreResponse", lambda m: setattr(m, "bytes", m.bytes - 1))
        with pytest.raises(IntegrityError):
            gatekeeper.store(system.propose("PUT", "package/lied2"), b"12")

        def hide(message):
            del message.objects[:]

        liar.change = changed("ListResponse", hide)
        with pytest.raises(IntegrityError):
            gatekeeper.list(system.propose("LIST", "package/lied"))
        liar.change = None
        out = io.BytesIO()
        gatekeeper.fetch(system.propose("GET", "package/lied"), out)
    assert out.getvalue() == b"the truth" and not sleeps


def test_what_may_be_tried_again_is_tried_again_later_and_later(system, liar):
    from twokey import Unavailable

    sleeps = []
    with liar_client(system, liar, sleeps) as gatekeeper:
        liar.failures = 3
        gatekeeper.store(system.propose("PUT", "package/again"), b"again" * 100000)
        assert sleeps == [0.1, 0.2, 0.4] and liar.calls == 4
        liar.failures, liar.calls = 3, 0
        gatekeeper.fetch(system.propose("GET", "package/again"), io.BytesIO())
        assert liar.calls == 4
        liar.failures, liar.calls = 4, 0
        with pytest.raises(Unavailable):
            gatekeeper.cosign(system.propose("GET", "package/again"))
        assert liar.calls == 4


def test_a_spent_transaction_is_not_called_replayed(system, liar):
    """The first attempt did it and its answer was lost; the second is told REPLAYED. What the caller learns is the first."""
    from twokey import Unavailable

    sleeps = []
    with liar_client(system, liar, sleeps) as gatekeeper:
        liar.failures, liar.after = 1, True
        with pytest.raises(Unavailable, match="the answer is lost") as lost:
            gatekeeper.remove(system.propose("DELETE", "package/again"))
    assert lost.value.__cause__.reason == "REPLAYED" and liar.calls == 2


def test_metadata_goes_with_all_calls_and_with_one(system, liar, client):
    system.put(client, "package/meta", b"x")
    with liar_client(system, liar, [], metadata=[("traceparent", "00-1")]) as gatekeeper:
        for call, method, operation, more in ((gatekeeper.cosign, "CoSign", "GET", ()), (gatekeeper.list, "List", "LIST", ()),
                                              (gatekeeper.fetch, "Fetch", "GET", (io.BytesIO(),)),
                                              (gatekeeper.store, "Store", "PUT", (b"x",)),
                                              (gatekeeper.remove, "Remove", "DELETE", ())):
            envelope = system.propose(operation, "package/meta", **({"overwrite": True} if operation == "PUT" else {}))
            call(envelope, *more, metadata=[("x-one", method)])
            assert {"traceparent": "00-1", "x-one": method}.items() <= liar.metadata[method].items()
        gatekeeper.cosign(system.propose("GET", "package/meta"))
        assert "x-one" not in liar.metadata["CoSign"]


def test_a_deadline_ends_it(system, liar):
    from twokey import DeadlinePassed, Unavailable

    hold = threading.Event()
    liar.change = lambda answer: (hold.wait(60), answer)[1]
    try:
        with liar_client(system, liar, []) as gatekeeper, pytest.raises(DeadlinePassed):
            gatekeeper.cosign(system.propose("GET", "package/slow"), timeout=0.5)
    finally:
        hold.set()
    from twokey import Gatekeeper, Retry

    naps = itertools.count()
    retry = Retry(attempts=3, sleep=lambda _: next(naps) and None, random=lambda: 0.0)
    with Gatekeeper(f"127.0.0.1:{free_port()}", tls(system), retry=retry) as nobody, pytest.raises(Unavailable):
        nobody.cosign(system.propose("GET", "x"), timeout=30)
    assert next(naps) == 2


# ---- the package ----
@pytest.mark.timeout(400)
def test_mypy_has_nothing_to_say(pytestconfig, tmp_path):
    """Strictly."""
    (tmp_path / "pyproject.toml").write_text((PACKAGE / "pyproject.toml").read_text().replace('mypy_path = "src"', ""))
    shutil.copytree(pathlib.Path(pytestconfig.stubs_folder.name) / "twokey", tmp_path / "twokey")
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-incremental", "-p", "twokey"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr


SCRIPT = """
import sys, twokey, twokey.boto3
assert sys.prefix in twokey.__file__, twokey.__file__
where, ca, text = sys.argv[1:4]
made = twokey.HolderKey.generate()
with twokey.Gatekeeper(where, twokey.Tls(ca=ca)) as gatekeeper:
    print(len(gatekeeper.cosign(twokey.envelope_from_json(text)).signatures))
"""


@pytest.mark.timeout(400)
def test_the_wheel_installs_and_works(system, tmp_path):
    """Built from a copy, installed into a new environment that borrows only the dependencies."""
    source = tmp_path / "repository"
    shutil.copytree(PACKAGE, source / "clients" / "python")
    shutil.copytree(ROOT / "proto", source / "proto")

    def run(*argv, **options):
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=380, cwd=tmp_path,
                              env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1",
                                   "PYTHONPATH": ""}, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", tmp_path / "dist",
        source / "clients" / "python")
    wheel, = (tmp_path / "dist").iterdir()
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = pathlib.Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--no-index", "--no-deps", wheel)
    (site / "dependencies.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    assert "No broken requirements" in run(*pip, "check")
    installed = {path.name for path in (site / "twokey").iterdir()}
    assert {"py.typed", "v1", "boto3", "gatekeeper.py"} <= installed
    from twokey import envelope_to_json

    text = envelope_to_json(system.propose("GET", "package/wheel"))
    assert run(python, "-c", SCRIPT, system.gatekeeper.address, system.authority.path, text) == "2\n"
    assert json.loads(text)["payloadType"] == dsse.TRANSACTION
