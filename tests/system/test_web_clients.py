"""Web clients in Node: our own module, and two that nobody here wrote."""
import base64
import json
import os
import pathlib
import subprocess

import pytest

from support.operator import operator
from support.process import run, until
from support.web import Browser

pytestmark = pytest.mark.timeout(300)
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = ROOT / "build/tools/web"
BIG = 24 << 20


@pytest.fixture(scope="module")
def system(make_module_system):
    made = make_module_system(gatekeeper={"web": {"listen": "127.0.0.1:0"}})
    client = made.client()
    made.put(client, "a", b"a" * 300000)
    made.put(client, "big", os.urandom(BIG))
    return made


@pytest.fixture(scope="module")
def url(system):
    return Browser(system).origin


@pytest.fixture(scope="module")
def node_env(system):
    path = os.pathsep.join([os.environ["PATH"], str(ROOT / "build/tools/venv/bin")])
    return {**os.environ, "PATH": path, "NODE_EXTRA_CA_CERTS": str(system.authority.path), "NODE_NO_WARNINGS": "1"}


def text(envelope):
    return base64.b64encode(envelope.SerializeToString()).decode()


class Module:
    """web/twokey/twokey.js in a Node process."""

    def __init__(self, url, env):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "node", str(ROOT / "tests/web/twokey.mjs"), url],
                                        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do, envelope=None, **more):
        asked = {"do": do, **more}
        if envelope is not None:
            asked["envelope"] = envelope if isinstance(envelope, str) else text(envelope)
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0


@pytest.fixture(scope="module")
def module(url, node_env):
    made = Module(url, node_env)
    yield made
    made.close()


def test_fetch_store_list_remove(system, module, auditor):
    answer = module("fetch", system.propose("GET", "a"))["ok"]
    assert answer["size"] == 300000 and answer["last"] == [300000, 300000] and answer["first"] == "0"
    stored = module("store", system.propose("PUT", "new"), bytes=1 << 20, type="image/png")["ok"]
    assert stored["bytes"] == 1 << 20 and stored["receipt"].startswith("application/vnd.twokey.receipt")
    assert auditor.record(int(stored["record"])).user_agent.startswith("node")
    answer = module("fetch", system.propose("GET", "new"))["ok"]
    assert answer["type"] == "image/png" and answer["size"] == 1 << 20
    assert "new" in module("list", system.propose("LIST", ""))["ok"]
    assert int(module("remove", system.propose("DELETE", "new"))["ok"]["record"]) > 0
    assert module("coSign", system.propose("GET", "a"))["ok"]["signatures"] == 2


def test_refusals_are_typed(system, module, auditor):
    spent = system.propose("GET", "a")
    assert "ok" in module("fetch", spent)
    refusal = module("fetch", spent)
    assert (refusal["name"], refusal["code"], refusal["reason"]) == ("Refusal", 7, "REPLAYED")
    assert auditor.record(int(refusal["record"])).reason == "REPLAYED"
    refusal = module("store", system.propose("PUT", "a"), bytes=10, type="")
    assert (refusal["status"], refusal["reason"]) == ("ALREADY_EXISTS", "OBJECT_EXISTS") and refusal["record"]
    refusal = module("store", system.propose("PUT", "short", exact_bytes=5), bytes=10, type="")
    assert (refusal["status"], refusal["reason"]) == ("FAILED_PRECONDITION", "CONTENT_MISMATCH")
    assert module("fetch", system.propose("GET", "nothing"))["reason"] == "OBJECT_NOT_FOUND"


def test_the_holder_key_stays_and_proves(system, module):
    holder = module("holder")["ok"]
    assert holder["extractable"] is False
    named = {"holder_key_sha256": bytes.fromhex(holder["sha256"])}
    assert module("fetch", system.propose("GET", "a", **named))["reason"] == "HOLDER_PROOF_INVALID"
    proving = {"options": {"holder": True}}
    assert module("fetch", system.propose("GET", "a", **named), **proving)["ok"]["size"] == 300000
    assert module("store", system.propose("PUT", "held", **named), bytes=100, type="", **proving)["ok"]["bytes"] == 100


def test_abort_and_cancel(system, module, auditor):
    before = len(auditor.search(object="big", event=9)[0])
    assert module("abort", system.propose("GET", "big"), after=1 << 20)["name"] == "AbortError"
    assert 0 < module("cancel", system.propose("GET", "big"))["ok"]["bytes"] < BIG
    until(lambda: len(auditor.search(object="big", event=9)[0]) == before + 2, 60, "both to end")
    assert {record.outcome for record in auditor.search(object="big", event=9)[0][:2]} == {"CLIENT_GONE"}


def test_a_lockdown_is_said_in_words(system, module):
    boss = operator(system)
    boss.lockdown()
    try:
        refusal = module("fetch", system.propose("GET", "a"))
        assert refusal["reason"] == "LOCKDOWN" and refusal["message"] == "everything is stopped: lockdown"
    finally:
        boss.lockdown(release=True)


def test_nobody_there(node_env):
    module = Module("https://127.0.0.1:1", node_env)
    refusal = module("coSign", "CgA")
    assert (refusal["name"], refusal["status"]) == ("Refusal", "UNAVAILABLE")
    module.close()


def test_independent_clients(system, url, node_env, tmp_path):
    """@connectrpc/connect-web and grpc-web: unary, streaming, errors with details, deadline, abort."""
    (tmp_path / "node_modules").symlink_to(MODULES / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "gen").mkdir()
    done = run(["protoc", "-I", str(ROOT / "proto"), "-I", "/usr/include",
                f"--plugin=protoc-gen-es={MODULES}/node_modules/.bin/protoc-gen-es", f"--es_out={tmp_path}/gen",
                "--es_opt=target=js,import_extension=js",
                *map(str, [*(ROOT / "proto/twokey/v1").glob("*.proto"), ROOT / "proto/google/rpc/error_details.proto",
                           ROOT / "proto/grpc/health/v1/health.proto"])], env=node_env)
    assert done.code == 0, done.err.decode()
    spent = system.propose("GET", "a")
    system.client().fetch(spent)
    envelopes = [system.propose("GET", "a"), system.propose("GET", "a", uses=4), spent, system.propose("GET", "big")]
    done = run(["node", str(ROOT / "tests/web/clients.mjs"), str(tmp_path), url, *map(text, envelopes)],
               env={**node_env, "NODE_TLS_REJECT_UNAUTHORIZED": "0"}, timeout=120)  # xhr2 knows no other authorities
    assert done.code == 0, done.err.decode()
    result = json.loads(done.out)
    connect = result["connect"]
    assert connect["unary"] == 2 and connect["stream"] == 300000
    assert (connect["refusal"]["code"], connect["refusal"]["reason"]) == ("PermissionDenied", "REPLAYED")
    assert int(connect["refusal"]["record"]) > 0
    assert connect["deadline"]["code"] == "DeadlineExceeded" and connect["abort"]["code"] == "Canceled"
    for answers in result["grpcweb"].values():
        assert answers["unary"]["bytes"] > 100 and answers["refusal"]["code"] == 7
        assert answers["refusal"]["message"] == "every use of this transaction has been spent"
        assert answers["unknown"]["code"] == 12
    assert result["grpcweb"]["binary"]["stream"]["sum"] > 300000
