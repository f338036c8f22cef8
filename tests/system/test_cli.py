"""The command line: help, exit codes, quiet pipes, and errors that say what to do."""
import hashlib
import json
import os
import re
from concurrent import futures

import pytest

from support.deployment import AUDITOR, BACKEND

COMMANDS = ["serve", "init", "key", "status", "holder", "authorize", "cosign", "fetch", "store", "ls", "rm", "audit", "policy"]
OK, FAILED, USAGE, REFUSED, UNAVAILABLE = range(5)


def test_help_and_version(system):
    done = system.twokey("--help")
    assert done.code == OK and done.err == b""
    for command in COMMANDS:
        assert re.search(rf"^  {command}\b", done.out.decode(), re.M), command
    done = system.twokey("--version")
    assert done.code == OK and re.fullmatch(r"twokey \d+\.\d+\.\d+\n", done.out.decode())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(system, command):
    done = system.twokey(command, "--help")
    assert done.code == OK and done.err == b""
    assert f"twokey {command}" in done.out.decode()


@pytest.mark.parametrize("words", [
    [], ["dance"], ["serve"], ["serve", "--nonsense"], ["init"], ["key"], ["key", "list"], ["authorize"],
    ["authorize", "get"], ["holder"], ["holder", "new"], ["holder", "dance", "x"], ["cosign"], ["fetch"], ["store", "only-one"], ["ls"], ["rm"], ["audit"], ["audit", "dance"],
    ["audit", "search", "--decision", "maybe"], ["audit", "search", "--transaction", "xyz"],
    ["audit", "search", "--since", "yesterday-ish"], ["policy"], ["policy", "dance"], ["policy", "lockdown"],
    ["policy", "revoke", "--why", "x"], ["policy", "revoke", "--user", "u"], ["policy", "expire", "--object", "o", "--why", "x"],
    ["policy", "revoke", "--user", "u", "--object", "o", "--why", "x"], ["policy", "explain", "get"],
    ["authorize", "sing", "reports/x", "--gatekeeper", "g", "--subject", "s", "--server", "127.0.0.1:1"],
    ["authorize", "get", "no-slash", "--gatekeeper", "g", "--subject", "s", "--server", "127.0.0.1:1"],
])
def test_wrong_usage_is_2(system, words):
    done = system.twokey(*words)
    assert done.code == USAGE, done
    assert done.out == b"" and done.err != b""


def test_the_main_job_in_pipes(system, tmp_path):
    """authorize | cosign | store -, fetch to stdout: nothing but the result in a pipe."""
    data = os.urandom(700_000)
    path = tmp_path / "in.bin"
    path.write_bytes(data)
    who = ["--gatekeeper", "gatekeeper", "--subject", "dr.bell"]
    backend, data_client = system.connection("vendor", BACKEND), system.connection()

    proposed = system.twokey("authorize", *backend, "put", "reports/cli/a b.bin", *who)
    assert (proposed.code, proposed.err) == (OK, b"")
    assert len(json.loads(proposed.out)["signatures"]) == 1
    cosigned = system.twokey("cosign", *data_client, "-", stdin=proposed.out)
    assert (cosigned.code, cosigned.err) == (OK, b"")
    assert len(json.loads(cosigned.out)["signatures"]) == 2
    envelope = tmp_path / "put.json"
    envelope.write_bytes(cosigned.out)
    stored = system.twokey("store", *data_client, envelope, path, "--receipt", tmp_path / "receipt.json")
    assert (stored.code, stored.out, stored.err) == (OK, b"", b"")
    assert len(json.loads((tmp_path / "receipt.json").read_text())["signatures"]) == 1

    proposed = system.twokey("authorize", *backend, "get", "reports/cli/a b.bin", *who)
    fetched = system.twokey("fetch", *data_client, "-", stdin=proposed.out)
    assert (fetched.code, fetched.err) == (OK, b"")
    assert hashlib.sha256(fetched.out).digest() == hashlib.sha256(data).digest()

    proposed = system.twokey("authorize", *backend, "list", "reports/cli/", *who)
    listed = system.twokey("ls", *data_client, "-", "--json", stdin=proposed.out)
    assert (listed.code, listed.err) == (OK, b"")
    assert [json.loads(line)["object"] for line in listed.out.splitlines()] == ["cli/a b.bin"]

    proposed = system.twokey("authorize", *backend, "delete", "reports/cli/a b.bin", *who)
    removed = system.twokey("rm", *data_client, "-", stdin=proposed.out)
    assert (removed.code, removed.out, removed.err) == (OK, b"", b"")


def test_the_environment_can_say_where(system, monkeypatch):
    server, ca = system.connection()[1], system.connection()[3]
    system.env.update(TWOKEY_SERVER=server, TWOKEY_CA=ca)
    try:
        done = system.twokey("status")
    finally:
        del system.env["TWOKEY_SERVER"], system.env["TWOKEY_CA"]
    assert (done.code, done.out) == (OK, b"serving\n")


def test_a_refusal_is_3_with_reason_and_record(system, tmp_path):
    proposed = system.twokey("authorize", *system.connection("vendor", BACKEND), "get", "reports/cli/none", "--gatekeeper",
                             "gatekeeper", "--subject", "dr.bell", "--network", "192.0.2.0/24")
    output = tmp_path / "never"
    done = system.twokey("fetch", *system.connection(), "-", "--output", output, stdin=proposed.out)
    assert done.code == REFUSED and done.out == b""
    match = re.fullmatch(r"twokey: refused: NETWORK_DENIED: not allowed from this network address \(record (\d+)\)\n",
                         done.err.decode())
    assert match, done.err
    assert not output.exists()
    found = system.twokey("audit", "search", *system.connection("gatekeeper", AUDITOR), "--json", "--reason",
                          "NETWORK_DENIED", "--wait-for", match.group(1))
    assert found.code == OK
    record = json.loads(found.out.splitlines()[0])
    assert str(record["index"]) == match.group(1) and record["object"] == "cli/none"


def test_nobody_there_is_4(system):
    done = system.twokey("status", "--server", "127.0.0.1:1", "--ca", system.authority.path, "--timeout", "5")
    assert done.code == UNAVAILABLE and done.err.startswith(b"twokey: ")


@pytest.mark.parametrize("words, told", [
    (["serve", "--config", "/nowhere/twokey.yaml"], "/nowhere/twokey.yaml"),
    (["init", "--config", "/nowhere/twokey.yaml"], "/nowhere/twokey.yaml"),
    (["cosign", "--server", "127.0.0.1:1", "/nowhere/envelope.json"], "/nowhere/envelope.json"),
    (["status", "--server", "127.0.0.1:1", "--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
    (["cosign", "--server", "127.0.0.1:1", "/dev/null"], "envelope"),
])
def test_errors_name_what_is_wrong(system, words, told):
    done = system.twokey(*words)
    assert done.code == FAILED, done
    assert done.err.startswith(b"twokey: ") and told in done.err.decode()
    assert done.err.count(b"\n") == 1


# (what is changed in a good configuration, what the message must name)
BAD_CONFIGS = [
    ({"naem": "x"}, "naem"),
    ({"role": "king"}, "king"),
    ({"token": {"uri": "pkcs11:token=nobody", "pin_source": "file:x"}}, None),
    ({"rules": "/nowhere/rules.yaml"}, "/nowhere/rules.yaml"),
    ({"lifetime": {"max": 3601}}, "max"),
    ({"buckets": []}, "bucket"),
    ({"vendor_keys": []}, "vendor_keys"),
    ({"listen": "nowhere"}, "nowhere"),
]


@pytest.mark.parametrize("number", range(len(BAD_CONFIGS)))
def test_serve_check_finds_mistakes(system, number, tmp_path):
    change, told = BAD_CONFIGS[number]
    path = system.gatekeeper.folder / f"bad-{number}.yaml"
    path.write_text(json.dumps({**system.gatekeeper.config, "ledger": {"directory": str(tmp_path)}, **change}, indent=1))
    done = system.twokey("serve", "--config", path, "--check")
    assert done.code == FAILED, done
    assert done.err.startswith(b"twokey: ")
    assert told is None or told in done.err.decode(), done.err


def test_serve_check_likes_a_good_one_even_while_it_serves(system):
    done = system.twokey("serve", "--config", system.gatekeeper.path, "--check")
    assert done.code == OK, done.err


def test_a_rule_file_with_a_mistake_is_refused_with_line_and_column(make_system):
    system = make_system(start=False, rules="version: 1\nrules:\n  - name: x\n    effect: allow\n    networks: [10.0.0.1/8]\n")
    done = system.twokey("serve", "--config", system.gatekeeper.path, "--check")
    assert done.code == FAILED
    assert re.search(rb"rules\.yaml:5:\d+: ", done.err), done.err


def test_init_is_safe_to_repeat(make_system):
    system = make_system(start=False)
    before = system.gatekeeper.transaction_pem.read_bytes()
    again = system.gatekeeper.init()
    assert b"twokey-transaction" in again.out
    assert system.gatekeeper.transaction_pem.read_bytes() == before
    listed = system.twokey("key", "list", "--config", system.gatekeeper.path)
    assert listed.code == OK and b"NOT PROTECTED" not in listed.out
    for label in (b"twokey-transaction", b"twokey-audit", b"twokey-kek-reports"):
        assert label in listed.out
        assert listed.out.count(label) == again.out.count(label) or listed.out.count(label) in (1, 2)


def test_two_processes_do_not_share_a_ledger(system):
    done = system.twokey("serve", "--config", system.vendor.path, timeout=30)
    assert done.code == FAILED and b"twokey: " in done.err, done


def test_a_failed_fetch_leaves_no_file(system, client, tmp_path):
    """The output appears only when it is whole and its hash is right."""
    system.put(client, "cli/corrupt", os.urandom(200_000))
    victim = max(system.objects(), key=lambda path: (path.stat().st_mtime_ns, path.stat().st_size))
    data = bytearray(victim.read_bytes())
    data[-100] ^= 1
    victim.write_bytes(data)
    proposed = system.twokey("authorize", *system.connection("vendor", BACKEND), "get", "reports/cli/corrupt",
                             "--gatekeeper", "gatekeeper", "--subject", "dr.bell")
    output = tmp_path / "out.bin"
    done = system.twokey("fetch", *system.connection(), "-", "--output", output, stdin=proposed.out)
    assert done.code in (FAILED, REFUSED) and b"OBJECT_CORRUPT" in done.err, done
    assert not output.exists()


def propose_get(system, object_):
    done = system.twokey("authorize", *system.connection("vendor", BACKEND), "get", f"reports/{object_}", "--gatekeeper",
                         "gatekeeper", "--subject", "dr.bell")
    assert done.code == OK
    return done.out


def test_only_a_regular_file_is_replaced(system, client, tmp_path):
    """A pipe or a device is written to; a link stays a link; a directory is told before a use is spent."""
    data = os.urandom(50_000)
    system.put(client, "cli/outputs", data)
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")

    def fetch(to, envelope):
        return system.twokey("fetch", *system.connection(), "-", "--output", to, stdin=envelope)

    assert fetch(tmp_path / "link", propose_get(system, "cli/outputs")).code == OK
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == data
    with futures.ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        assert fetch(tmp_path / "pipe", propose_get(system, "cli/outputs")).code == OK
        assert read.result(60) == data and (tmp_path / "pipe").is_fifo()
    envelope = propose_get(system, "cli/outputs")
    for nowhere in (tmp_path, tmp_path / "no" / "file"):
        done = fetch(nowhere, envelope)
        assert done.code == FAILED and str(nowhere).encode() in done.err
    assert fetch(tmp_path / "file", envelope).code == OK  # its use was not spent
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "pipe"]


def test_a_receipt_that_cannot_be_written_loses_nothing(system, client, tmp_path):
    data = os.urandom(50_000)
    system.put(client, "cli/receipt", data)
    done = system.twokey("fetch", *system.connection(), "-", "--output", tmp_path / "out", "--receipt", "/nowhere/receipt",
                         stdin=propose_get(system, "cli/receipt"))
    assert done.code == FAILED and b"/nowhere/receipt" in done.err
    assert (tmp_path / "out").read_bytes() == data


def test_a_terminal_sees_progress(system, tmp_path):
    """On a terminal's stderr there is something to see; stdout stays the result."""
    import pty

    system.put(system.client(), "cli/progress", os.urandom(3_000_000))
    proposed = system.twokey("authorize", *system.connection("vendor", BACKEND), "get", "reports/cli/progress",
                             "--gatekeeper", "gatekeeper", "--subject", "dr.bell", "--output", tmp_path / "get.json")
    assert proposed.code == OK
    import subprocess

    leader, follower = pty.openpty()
    process = subprocess.Popen([str(system.binary), "fetch", *system.connection(), str(tmp_path / "get.json"), "--output",
                                str(tmp_path / "out")], env=system.env, stderr=follower, stdout=subprocess.DEVNULL)
    os.close(follower)
    assert process.wait(60) == OK
    seen = os.read(leader, 65536)
    os.close(leader)
    assert seen.strip()
