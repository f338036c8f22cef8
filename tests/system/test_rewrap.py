"""The KEK is replaced and the objects' data keys follow it, while clients read and write, cut off and taken up again; then the
old KEK can go."""
import threading

import pytest

from support import pki, s3
from support.client import Refused
from support.deployment import AUDITOR, OPERATOR
from test_rotation import Load, key_new, operator

pytestmark = pytest.mark.timeout(240)


def rewrap(at, bucket, why="rotation", after="", messages=None):
    """The last message; `messages`: leave after so many."""
    request = at.key_pb.RewrapRequest(bucket=bucket, why=why, after=after)
    call, told = at.keys.Rewrap(request, timeout=at.timeout), []
    for message in call:
        told.append(message)
        if messages and len(told) == messages:
            call.cancel()
            break
    return told[-1]


def next_kek(system, at):
    key_new(system, "gatekeeper", "kek", "--bucket", system.bucket)
    at.use("kek", 2, system.bucket)
    keys = at.list()
    return keys["kek", 1].key_id, keys["kek", 2].key_id


def records_of(system, **fields):
    return system.client("gatekeeper", AUDITOR).search(**fields)[0]


@pytest.fixture(params=["directory", "s3"])
def system(request, make_system):
    return make_system(**({"store": request.getfixturevalue("versitygw")} if request.param == "s3" else {}))


@pytest.fixture(autouse=True)
def empty(request):
    """The S3 server is shared by this file's tests."""
    yield
    if "versitygw" in request.fixturenames:
        client = request.getfixturevalue("versitygw").client()
        for entry in client.list_objects_v2(Bucket="reports").get("Contents", []):
            client.delete_object(Bucket="reports", Key=entry["Key"])


def test_while_serving(system):
    contents = {"a/empty": b"", "a/small": b"small", "a/two parts ü+&": bytes(range(256)) * (9 << 12)}
    client, at = system.client(), operator(system)
    for name, data in contents.items():
        system.put(client, name, data, content_type="")
    old, new = next_kek(system, at)
    with pytest.raises(Refused) as refused:
        at.retire("kek", 1, system.bucket)
    assert refused.value.reason == "KEY_NEEDED"
    with Load(system, threads=2) as load:
        load.more(4)
        told = rewrap(at, system.bucket)
        load.more(4)
    assert told.complete and told.failed == 0 and told.rewrapped >= len(contents)
    assert old not in at.count(system.bucket)
    for name, data in contents.items():
        assert system.get(client, name).data == data
    assert system.get(client, "a/two parts ü+&", range=(70000, 5)).data == contents["a/two parts ü+&"][70000:70005]
    at.retire("kek", 1, system.bucket)
    for name, data in contents.items():
        assert system.get(client, name).data == data
    again = rewrap(at, system.bucket)
    assert again.complete and again.rewrapped == 0

    event = client.audit_pb.EVENT_REWRAP
    steps = [record for record in records_of(system, event=event) if record.decision_index == told.record and record.outcome]
    assert len(steps) == told.rewrapped and {step.outcome for step in steps} == {"complete"}
    assert {step.key_id for step in steps} == {new} and set(contents) <= {step.object for step in steps}
    assert all(len(step.object_id) == 16 for step in steps)
    (began,) = [record for record in records_of(system, event=event) if record.index == told.record]
    assert (began.why, began.identity) == ("rotation", OPERATOR)
    (ended,) = [record for record in records_of(system, event=client.audit_pb.EVENT_COMPLETION)
                if record.decision_index == told.record]
    assert (ended.outcome, ended.objects) == ("complete", told.rewrapped)


def test_cut_off_and_taken_up_again(system):
    client, at = system.client(), operator(system)
    names = [f"a/{number:03}" for number in range(60)]
    for name in names:
        system.put(client, name, name.encode())
    old, new = next_kek(system, at)
    # By the client, by killing the server, and by an explicit place.
    call = at.keys.Rewrap(at.key_pb.RewrapRequest(bucket=system.bucket, why="first"), timeout=60)
    killer = threading.Thread(target=system.gatekeeper.kill)
    killer.start()
    try:
        list(call)
    except Exception:  # the server is gone, or was quicker
        pass
    killer.join()
    system.gatekeeper.start()
    client, at = system.client(), operator(system)
    for name in names:
        assert system.get(client, name).data == name.encode()
    half = rewrap(at, system.bucket, after="a/029")
    assert half.complete and half.objects == 30 and half.last == "a/059"
    done = system.twokey("key", "rewrap", system.bucket, "--why", "rest", *system.connection(identity=OPERATOR))
    assert done.code == 0, done.err.decode()
    assert done.out.decode().startswith("60 objects looked at, ")
    assert at.count(system.bucket) == {new: 60}
    for name in names:
        assert system.get(client, name).data == name.encode()


def test_what_cannot_be_rewrapped_is_told(make_system):
    """One damaged head stops nobody else's; an object that is not sealed is left alone; force takes the key all the same."""
    system = make_system()
    client, at = system.client(), operator(system)
    for name in ("good", "bad"):
        system.put(client, f"a/{name}", b"content")
    (path,) = [path for path in system.objects() if path.name.startswith("bad")]
    text = path.read_bytes()
    at_wrapped = text.index(b"twokey-wrapped ") + len(b"twokey-wrapped ")
    path.write_bytes(text[:at_wrapped] + (b"B" if text[at_wrapped:at_wrapped + 1] == b"A" else b"A") + text[at_wrapped + 1:])
    next_kek(system, at)
    told = rewrap(at, system.bucket)
    assert (told.objects, told.rewrapped, told.failed) == (2, 1, 1)
    failed = [record for record in records_of(system, event=client.audit_pb.EVENT_REWRAP) if record.outcome == "OBJECT_CORRUPT"]
    assert [record.object for record in failed] == ["a/bad"]
    arguments = ["key", "retire", "kek", "1", "--bucket", system.bucket, "--why", "it is lost", *system.connection(identity=OPERATOR)]
    assert system.twokey(*arguments).code == 3
    assert system.twokey(*arguments, "--force").code == 0
    (retired,) = [record for record in records_of(system, event=client.audit_pb.EVENT_KEY)
                  if record.key_action == 3 and record.decision == client.audit_pb.DECISION_GRANTED]
    assert "1 of 2 objects are sealed under" in retired.detail
    assert system.get(client, "a/good").data == b"content"


def test_who_may(make_system):
    system = make_system()
    for identity in (AUDITOR, None):
        with pytest.raises(Refused) as refused:
            wrapped_rewrap(operator(system, identity=identity) if identity else operator_without(system), system.bucket)
        assert refused.value.reason in ("CALLER_NOT_ALLOWED", "CALLER_UNAUTHENTICATED")
    for fields, reason in (({"why": ""}, "MALFORMED"), ({"bucket": "other"}, "NO_SUCH_KEY")):
        with pytest.raises(Refused) as refused:
            wrapped_rewrap(operator(system), **{"bucket": system.bucket, **fields})
        assert refused.value.reason == reason


def operator_without(system):
    from test_rotation import KeyOperator

    made = KeyOperator(system.gatekeeper.address, system.authority.path)
    system.clients.append(made)
    return made


def wrapped_rewrap(at, bucket, **fields):
    import grpc

    try:
        return rewrap(at, bucket, **fields)
    except grpc.RpcError as error:
        raise Refused(error) from None


def test_a_bucket_that_keeps_versions(make_system, tmp_path):
    """Older versions stay under the KEK that they were stored under: it is not let go without force."""
    server = s3.Versitygw(tmp_path, pki.Authority(tmp_path / "tls", "S3 CA"), versioning=True).start()
    try:
        server.make_bucket("reports")
        server.client().put_bucket_versioning(Bucket="reports", VersioningConfiguration={"Status": "Enabled"})
        system = make_system(store=server)
        client, at = system.client(), operator(system)
        first = system.put(client, "a/plan", b"first")
        system.put(client, "a/plan", b"second", overwrite=True)
        next_kek(system, at)
        assert rewrap(at, system.bucket).rewrapped == 1
        assert system.get(client, "a/plan").data == b"second"
        assert system.get(client, "a/plan", version_id=first.version_id).data == b"first"
        with pytest.raises(Refused) as refused:
            at.retire("kek", 1, system.bucket)
        assert refused.value.reason == "KEY_NEEDED" and "versions" in refused.value.message
    finally:
        server.stop()
