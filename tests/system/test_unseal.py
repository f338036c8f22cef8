"""A copy of the bucket and the token: that is enough to have everything back, without a server, a record or a network."""
import json
import os
import shutil

import pytest

pytestmark = pytest.mark.timeout(120)

CONTENTS = {"a/empty": b"", "a/small": b"small", "a/ranges": bytes(range(256)) * 1024, "b/parts ü": os.urandom(9 << 20)}


def store_all(system):
    client = system.client()
    for name, data in CONTENTS.items():
        system.put(client, name, data)


def unseal(system, *arguments, config=True):
    options = ["--config", system.gatekeeper.path] if config else []
    return system.twokey("unseal", *options, "--bucket", system.bucket, *arguments)


def expect_all(system, copy, out, *arguments, **options):
    done = unseal(system, *arguments, copy, out, **options)
    assert done.code == 0, done.err.decode()
    assert done.out.decode().startswith(f"{len(CONTENTS)} objects, {len(CONTENTS)} unsealed, 0 failed")
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == CONTENTS


@pytest.fixture
def bucket(versitygw):
    """An S3 server whose bucket is empty."""
    client = versitygw.client()
    for entry in client.list_objects_v2(Bucket="reports").get("Contents", []):
        client.delete_object(Bucket="reports", Key=entry["Key"])
    return versitygw


def test_a_directory_store(make_system, tmp_path):
    system = make_system()
    store_all(system)
    system.stop()
    copy = tmp_path / "copy"
    shutil.copytree(system.gatekeeper.folder / "objects", copy)
    expect_all(system, copy, tmp_path / "out")
    token = system.gatekeeper.config["token"]
    (tmp_path / "bare").mkdir()
    expect_all(system, copy, tmp_path / "bare" / "out", "--module", token["module"], "--token-uri", token["uri"],
               "--pin-source", token["pin_source"], "--gcm-iv", token.get("gcm_iv", "caller"), "--gatekeeper", "gatekeeper",
               config=False)

    for first, last in ((0, 0), (65470, 65500), (100_000, 300_000)):
        done = unseal(system, "--object", "a/ranges", "--range", f"{first}-{last}", copy)
        assert done.code == 0 and done.out == CONTENTS["a/ranges"][first:last + 1]
    assert unseal(system, "--object", "a/small", copy, "-").out == b"small"
    done = unseal(system, "--prefix", "b/", copy, tmp_path / "some")
    assert done.out.startswith(b"1 objects, 1 unsealed") and (tmp_path / "some" / "b" / "parts ü").exists()

    again = unseal(system, copy, tmp_path / "out")
    assert again.code == 1 and b"0 unsealed, 4 failed" in again.out, "existing files are not touched"


def test_an_s3_server_s_folder(make_system, bucket, tmp_path):
    system = make_system(store=bucket)
    store_all(system)
    system.stop()
    expect_all(system, bucket.root / "reports", tmp_path / "out")


def test_a_download_with_its_heads(make_system, bucket, tmp_path):
    """As `aws s3 sync`, and `aws s3api head-object` for each."""
    system = make_system(store=bucket)
    store_all(system)
    system.stop()
    copy, client = tmp_path / "copy", bucket.client()
    for entry in client.list_objects_v2(Bucket="reports")["Contents"]:
        path = copy / entry["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file("reports", entry["Key"], str(path))
        head = client.head_object(Bucket="reports", Key=entry["Key"])
        path.with_name(path.name + ".head.json").write_text(json.dumps(head, default=str))
    expect_all(system, copy, tmp_path / "out")


def test_refusals(make_system, tmp_path):
    system = make_system()
    store_all(system)
    system.stop()
    copy = tmp_path / "copy"
    shutil.copytree(system.gatekeeper.folder / "objects", copy)
    for path in copy.rglob("small=*"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = unseal(system, copy, tmp_path / "out")
    assert done.code == 1 and b"3 unsealed, 1 failed" in done.out and b"a/small: a segment does not verify" in done.err
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["empty", "parts ü", "ranges"]
    for arguments, words in (((copy,), b"into which folder"), ((tmp_path / "nothing", tmp_path / "o"), b"no such folder"),
                             (("--object", "a/none", copy), b"no such object"),
                             (("--object", "a/ranges", "--range", "9-1", copy), b"FIRST-LAST"),
                             (("--object", "a/ranges", "--range", "9999999-9999999", copy), b"262144 bytes"),
                             (("--gatekeeper", "another", "--object", "a/ranges", copy), b"")):
        done = unseal(system, *arguments)
        assert done.code != 0 and words in done.err and done.out == b"", (arguments, done)
