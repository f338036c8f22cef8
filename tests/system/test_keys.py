"""Object keys are exact bytes, whatever they look like: store, list, fetch, remove, in both kinds of store."""
import pytest

from support.client import Refused

KEYS = {
    "plain": "plain",
    "space": "a key with  spaces ",
    "plus": "a+b+c",
    "equals": "key=value&other=1?x#y",
    "percent": "100%2Fpercent%",
    "percent slash": "a%2Fb",
    "dots": "a/../b",
    "dots first": "../../etc/passwd",
    "dot": "a/./b",
    "double slash": "a//b",
    "first slash": "/a",
    "last slash": "a/",
    "only slash": "/",
    "backslash": "a\\b\\..\\c",
    "quotes": "it's \"quoted\" `so`",
    "xml": "<Key>&amp;]]></Key>",
    "control": "tab\tnewline\nreturn\r\x01\x7f",
    "emoji": "🗝🗝",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "right to left": "\u05d0\u202e\u05d1",
    "glob": "*?[a-z]{x}",
    "long segment": "s" * 255,
    "longer segment": "s" * 300,
    "longest": "k" * 1024,
    "longest, cut in segments": ("k" * 63 + "/") * 15 + "k" * 64,
    "longest utf-8": ("é" * 31 + "x/") * 15 + "é" * 32,  # 1,024 bytes
}
assert len(KEYS["longest utf-8"].encode()) == 1024

# What versitygw's POSIX backend cannot hold, because keys are its file names. S3 itself can.
VERSITYGW_CANNOT = {"dots", "dots first", "dot", "double slash", "first slash", "only slash", "longer segment", "longest",
                    "control", "last slash"}
# OBJECT_CORRUPT: its listing of a key with control characters names another key, and we do not believe that.
CLEAR = {"STORE_UNAVAILABLE", "STORE_REFUSED", "OBJECT_NOT_FOUND", "MALFORMED", "OBJECT_EXISTS", "OBJECT_CORRUPT"}


def round_trip(system, client, key, data):
    """Every operation on one key."""
    client.store(system.propose("PUT", key), data)
    assert system.get(client, key).data == data
    entries, _ = client.list(system.propose("LIST", key))
    assert key in [entry.object for entry in entries]
    client.remove(system.propose("DELETE", key))
    with pytest.raises(Refused) as refused:
        system.get(client, key)
    assert refused.value.reason == "OBJECT_NOT_FOUND"


@pytest.mark.parametrize("what", KEYS)
def test_directory(system, client, what):
    round_trip(system, client, KEYS[what], what.encode())


@pytest.mark.parametrize("what", [what for what in KEYS if what not in VERSITYGW_CANNOT])
def test_versitygw(s3_system, what):
    round_trip(s3_system, s3_system.client(), KEYS[what], what.encode())


def clearly(call, *arguments):
    """What a call answers; None when it is refused for a reason that somebody can act upon."""
    try:
        return call(*arguments)
    except Refused as refusal:
        assert refusal.reason in CLEAR, refusal
        assert refusal.record is not None
        return None


@pytest.mark.parametrize("what", sorted(VERSITYGW_CANNOT))
def test_what_versitygw_cannot_hold(s3_system, what):
    """Its answer is passed on clearly: never other bytes, never a wrong name, and the service goes on."""
    client, key, data = s3_system.client(), KEYS[what], what.encode()
    stored = clearly(client.store, s3_system.propose("PUT", key), data)
    fetched = clearly(client.fetch, s3_system.propose("GET", key))
    assert fetched is None or (stored and fetched.data == data)
    clearly(client.list, s3_system.propose("LIST", key))
    clearly(client.remove, s3_system.propose("DELETE", key))
    round_trip(s3_system, client, f"after-{len(what)}", b"goes on")


def test_keys_that_look_alike_are_different(system, client):
    """Nothing is folded: each of these is an object of its own, at the same time."""
    alike = ["x/y", "x//y", "x/./y", "x/z/../y", "/x/y", "x/y/", "x%2Fy", "X/y", "x/y ", "caf\u00e9", "cafe\u0301"]
    for key in alike:
        system.put(client, key, key.encode())
    for key in alike:
        assert system.get(client, key).data == key.encode()
    entries, _ = client.list(system.propose("LIST", ""))
    assert {entry.object for entry in entries} >= set(alike)
    outside = [path for path in system.gatekeeper.folder.parent.rglob("*") if path.is_file() and path.name == "y"]
    assert all(system.gatekeeper.folder / "objects" in path.parents for path in outside)


@pytest.mark.parametrize("key, reason", [
    ("", "MALFORMED"),
    ("k" * 1025, "MALFORMED"),
    ("é" * 513, "MALFORMED"),
    ("a\0b", "MALFORMED"),
])
def test_what_is_no_key(system, client, key, reason):
    with pytest.raises(Refused) as refused:
        client.fetch(system.propose("GET", key))
    assert refused.value.reason == reason


def test_bytes_that_are_no_utf8(system, client):
    from support import dsse

    payload = dsse.transaction("GET", "reports", "KEYKEY").SerializeToString().replace(b"KEYKEY", b"K\xff\xfe\xc0\x80Y")
    with pytest.raises(Refused) as refused:
        client.fetch(dsse.sign(payload, system.stolen))
    assert refused.value.reason == "MALFORMED"
