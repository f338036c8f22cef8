"""A bucket that keeps versions: every Store makes one, receipt and record name it, and a Fetch of that version gets it."""
import pytest

from support import dsse, pki, s3
from support.client import Refused
from support.deployment import AUDITOR


@pytest.fixture(scope="module")
def versioned(make_module_system, tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    server = s3.Versitygw(folder, pki.Authority(folder / "tls", "S3 CA"), versioning=True).start()
    try:
        server.make_bucket("reports")
        server.client().put_bucket_versioning(Bucket="reports", VersioningConfiguration={"Status": "Enabled"})
        yield make_module_system(store=server), server
    finally:
        server.stop()


def receipt_of(answer):
    return dsse.messages().Receipt.FromString(answer.receipt.payload)


def test_versions_round_trip(versioned):
    system, server = versioned
    client, contents, versions = system.client(), [b"one", b"two " * 30000, b""], []
    for data in contents:
        answer = system.put(client, "a/key", data, overwrite=True)
        assert answer.version_id and receipt_of(answer).version_id == answer.version_id
        versions.append(answer.version_id)
    assert len(set(versions)) == len(contents)
    listed = server.client().list_object_versions(Bucket="reports", Prefix="a/key")["Versions"]
    assert {each["VersionId"] for each in listed} == set(versions)
    newest = system.get(client, "a/key")
    assert newest.data == contents[-1] and receipt_of(newest.tail).version_id == versions[-1]


def test_a_transaction_can_name_the_version(versioned):
    system, _ = versioned
    client = system.client()
    first = system.put(client, "a/pinned", b"first")
    second = system.put(client, "a/pinned", b"second", overwrite=True)
    assert system.get(client, "a/pinned").data == b"second"
    assert system.get(client, "a/pinned", version_id=first.version_id).data == b"first"
    assert system.get(client, "a/pinned", version_id=second.version_id).data == b"second"
    with pytest.raises(Refused) as refused:
        system.get(client, "a/pinned", version_id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert refused.value.reason == "OBJECT_NOT_FOUND"


def test_multipart_has_a_version(versioned):
    system, _ = versioned
    client, data = system.client(), bytes(range(256)) * (10 << 12)
    answer = system.put(client, "a/large", data)
    fetched = system.get(client, "a/large")
    assert fetched.data == data and receipt_of(fetched.tail).version_id == answer.version_id != ""


def test_the_record_names_the_version(versioned):
    system, _ = versioned
    answer = system.put(system.client(), "a/recorded", b"x")
    records, _ = system.client("gatekeeper", AUDITOR).search(object="a/recorded")
    assert answer.version_id in {record.version_id for record in records}
