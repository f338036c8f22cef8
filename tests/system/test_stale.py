"""An older sealed object put back under its name: whoever can write to the bucket can do that, and no cipher notices. The
record does."""
import shutil

import pytest

from support import pki, s3
from support.client import Refused
from support.deployment import AUDITOR

pytestmark = pytest.mark.timeout(120)


class Directory:
    """Takes objects away and puts them back, as whoever owns the store's folder can."""

    def __init__(self, system, folder):
        self.system, self.folder = system, folder

    def take(self, name):
        (path,) = [path for path in self.system.objects() if path.name.startswith(name)]
        kept = self.folder / f"{name}.kept"
        shutil.copy2(path, kept)
        return path, kept

    def put_back(self, taken):
        path, kept = taken
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(kept, path)


class Bucket:
    """The same over S3, with the bucket's own credentials."""

    def __init__(self, server, bucket):
        self.client, self.bucket = server.client(), bucket

    def take(self, name):
        answer = self.client.get_object(Bucket=self.bucket, Key=f"a/{name}")
        return name, answer["Body"].read(), answer["Metadata"], answer["ContentType"]

    def put_back(self, taken):
        name, body, metadata, content_type = taken
        self.client.put_object(Bucket=self.bucket, Key=f"a/{name}", Body=body, Metadata=metadata, ContentType=content_type)


@pytest.fixture(params=["directory", "s3"])
def place(request, tmp_path):
    """A system, and somebody with write access to its bucket."""
    if request.param == "directory":
        system = request.getfixturevalue("system")
        return system, Directory(system, tmp_path)
    return request.getfixturevalue("s3_system"), Bucket(request.getfixturevalue("versitygw"), "reports")


def refused(system, client, key, **fields):
    with pytest.raises(Refused) as error:
        system.get(client, key, **fields)
    return error.value


def test_an_older_object_is_refused(place):
    system, attacker = place
    client = system.client()
    system.put(client, "a/plan", b"old " * 50000)
    old = attacker.take("plan")
    system.put(client, "a/plan", b"new", overwrite=True)
    assert system.get(client, "a/plan").data == b"new"
    attacker.put_back(old)
    told = refused(system, client, "a/plan")
    assert told.reason == "STALE_OBJECT"
    assert refused(system, client, "a/plan", range=(100, 10)).reason == "STALE_OBJECT"
    records, _ = system.client("gatekeeper", AUDITOR).search(object="a/plan", wait_for_index=told.record + 1)
    ended = [record for record in records if record.decision_index == told.record]
    assert [(record.outcome, record.bytes) for record in ended] == [("STALE_OBJECT", 0)]
    system.put(client, "a/plan", b"newest", overwrite=True)
    assert system.get(client, "a/plan").data == b"newest"


def test_a_removed_object_does_not_come_back(place):
    system, attacker = place
    client = system.client()
    system.put(client, "a/gone", b"content")
    old = attacker.take("gone")
    client.remove(system.propose("DELETE", "a/gone"))
    attacker.put_back(old)
    assert refused(system, client, "a/gone").reason == "STALE_OBJECT"
    system.put(client, "a/gone", b"stored again", overwrite=True)
    assert system.get(client, "a/gone").data == b"stored again"


def test_after_a_restart_with_and_without_the_index(make_system, tmp_path):
    system = make_system()
    client, attacker = system.client(), Directory(system, tmp_path)
    system.put(client, "a/plan", b"old")
    old = attacker.take("plan")
    system.put(client, "a/plan", b"new", overwrite=True)
    system.put(client, "a/other", b"other")
    attacker.put_back(old)
    for index in ("there", "removed"):
        system.gatekeeper.restart() if index == "there" else system.gatekeeper.stop()
        if index == "removed":
            for path in (system.gatekeeper.folder / "ledger").glob("index.sqlite3*"):
                path.unlink()
            system.gatekeeper.start()
        client = system.client()
        assert refused(system, client, "a/plan").reason == "STALE_OBJECT"
        assert system.get(client, "a/other").data == b"other"


def test_a_store_that_a_crash_cut_off_is_readable(make_system):
    """Killed between bucket and record, at some moment: whatever the bucket has then can be read."""
    system = make_system()
    client = system.client()
    system.put(client, "a/plan", b"old")
    with pytest.raises(Refused):
        system.put(client, "a/plan", killing(system, b"new"), overwrite=True)
    system.gatekeeper.start()
    assert system.get(system.client(), "a/plan").data in (b"old", b"new")


def killing(system, data):
    yield data
    system.gatekeeper.kill()


def test_objects_from_before_the_record_are_readable(make_system):
    """A bucket outlives a ledger: what the record does not know it cannot call stale."""
    system = make_system()
    system.put(system.client(), "a/plan", b"content")
    system.gatekeeper.stop()
    shutil.rmtree(system.gatekeeper.folder / "ledger")
    system.gatekeeper.start()
    assert system.get(system.client(), "a/plan").data == b"content"


def test_a_pinned_version_is_no_roll_back(make_system, tmp_path):
    server = s3.Versitygw(tmp_path, pki.Authority(tmp_path / "tls", "S3 CA"), versioning=True).start()
    try:
        server.make_bucket("reports")
        server.client().put_bucket_versioning(Bucket="reports", VersioningConfiguration={"Status": "Enabled"})
        system = make_system(store=server)
        client = system.client()
        first = system.put(client, "a/plan", b"first")
        second = system.put(client, "a/plan", b"second", overwrite=True)
        server.client().delete_object(Bucket="reports", Key="a/plan", VersionId=second.version_id)
        assert refused(system, client, "a/plan").reason == "STALE_OBJECT"
        assert system.get(client, "a/plan", version_id=first.version_id).data == b"first"
    finally:
        server.stop()
