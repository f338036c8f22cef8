"""The end user proved by the customer's own identity provider: a vendor that invents users gets nothing."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import ssl
import threading
import time

import pytest
from joserfc import jwk, jws, jwt

from support.client import Refused, refusing
from support.deployment import AUDITOR
from support.pki import replace
from support.process import until

ISSUER, AUDIENCE, SUBJECT = "https://idp.clinic.example", "twokey-gatekeeper", "dr.bell@clinic.example"
RULES = """
version: 1
rules:
  - name: free
    effect: allow
    objects: ["free/**"]
  - name: proved
    effect: allow
    objects: ["proved/**"]
    require: [id_token]
"""
KEYS = {"rsa": jwk.RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
        "ec": jwk.ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})}
STRANGER = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
ALGORITHMS = ["RS256", "PS256", "ES256", "HS256", "RS512", "none"]


def key_set(*keys):
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


def claims(**changes):
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "12345", "email": SUBJECT, "iat": now, "exp": now + 300, **changes}
    return {name: value for name, value in made.items() if value is not None}


def token(key=KEYS["rsa"], alg="RS256", header=None, **changes):
    return jwt.encode({"alg": alg, "kid": key.kid, **(header or {})}, claims(**changes), key, algorithms=ALGORITHMS)


@refusing
def cosign(client, system, name, id_token=None, subject=SUBJECT):
    request = client.pb.CoSignRequest(envelope=system.propose("GET", name, subject=subject))
    metadata = [("twokey-id-token", id_token)] if id_token is not None else []
    return client.stub.CoSign(request, timeout=60, metadata=metadata)


def reason(client, system, id_token=None, name="proved/x", **fields):
    try:
        cosign(client, system, name, id_token, **fields)
    except Refused as refused:
        return refused.reason
    return ""


def options(**more):
    return {"issuer": ISSUER, "audience": AUDIENCE, "claim": "email", **more}


@pytest.fixture(scope="module")
def clinic(make_module_system, tmp_path_factory):
    """Keys from a file."""
    keys = tmp_path_factory.mktemp("idp") / "keys.json"
    keys.write_bytes(key_set(*KEYS.values()))
    system = make_module_system(rules=RULES, gatekeeper={"id_tokens": options(keys=str(keys))})
    system.keys = keys
    return system


@pytest.fixture(scope="module")
def data_client(clinic):
    return clinic.client()


def test_the_user_is_proved(clinic, data_client):
    for good in (token(), token(alg="PS256"), token(KEYS["ec"], "ES256"), token(aud=[AUDIENCE]),
                 token(aud=[AUDIENCE, "other"], azp=AUDIENCE), token(email_verified=True)):
        assert reason(data_client, clinic, good) == ""
    answer = cosign(data_client, clinic, "proved/x", token())
    record = clinic.client("gatekeeper", AUDITOR).record(answer.record)
    assert (record.rule, record.subject, record.id_token_issuer) == ("proved", SUBJECT, ISSUER)


def test_who_is_not_proved_gets_nothing(clinic, data_client):
    with pytest.raises(Refused) as refused:
        cosign(data_client, clinic, "proved/x")
    assert refused.value.reason == "ID_TOKEN_REQUIRED"
    assert reason(data_client, clinic, token(), subject="invented@clinic.example") == "ID_TOKEN_INVALID"
    assert reason(data_client, clinic, name="free/x") == ""
    assert reason(data_client, clinic, token(email="other@clinic.example"), name="free/x") == "ID_TOKEN_INVALID"


def test_fetch_store_list_and_remove_are_asked_alike(clinic, data_client):
    proof = [("twokey-id-token", token())]
    pb, types = data_client.pb, data_client.types
    body = b"x" * 1000
    envelope = clinic.propose("PUT", "proved/y", subject=SUBJECT)
    data_client.stub.Store(data_client._store_messages(envelope, [body], None, ""), timeout=60, metadata=proof)
    calls = {"GET": (data_client.stub.Fetch, pb.FetchRequest), "LIST": (data_client.stub.List, pb.ListRequest),
             "DELETE": (data_client.stub.Remove, pb.RemoveRequest)}
    for operation, (method, request) in calls.items():
        envelope = clinic.propose(operation, "proved/" if operation == "LIST" else "proved/y", subject=SUBJECT)

        @refusing
        def call(metadata, method=method, request=request(envelope=envelope)):
            answer = method(request, timeout=60, metadata=metadata)
            return list(answer) if hasattr(answer, "__iter__") else answer

        with pytest.raises(Refused) as refused:
            call([])
        assert refused.value.reason == "ID_TOKEN_REQUIRED", operation
        assert call(proof)
    assert types


def unsigned(header, body, signature=b""):
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in
                    (json.dumps(header).encode(), json.dumps(body).encode(), signature))


def repeated():
    """The same claim twice: whichever a parser takes, the other is a lie."""
    body = json.dumps(claims())[:-1] + ', "email": "%s"}' % SUBJECT
    return jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, body.encode(), KEYS["rsa"], algorithms=ALGORITHMS)


def hostile():
    now = int(time.time())
    public_pem, public_der = KEYS["rsa"].as_pem(private=False), KEYS["rsa"].as_der(private=False)
    good = token()
    head, body, signature = good.split(".")
    yield "alg none", unsigned({"alg": "none", "kid": "rsa"}, claims())
    yield "alg None", unsigned({"alg": "None", "kid": "rsa"}, claims())
    yield "no alg", unsigned({"kid": "rsa"}, claims())
    for name, secret in (("PEM", public_pem), ("DER", public_der)):
        signed_head = unsigned({"alg": "HS256", "kid": "rsa"}, claims()).rsplit(".", 1)[0]
        mac = hmac.new(secret, signed_head.encode(), hashlib.sha256).digest()
        yield f"HS256 with the public key ({name})", signed_head + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
    yield "a stranger's key under the right name", token(STRANGER)
    yield "a stranger's key, brought along", token(STRANGER, header={"jwk": STRANGER.as_dict(private=False)})
    yield "a stranger's key, elsewhere", token(STRANGER, header={"jku": "https://evil.example/keys", "kid": "evil"})
    yield "another algorithm of the same key", token(alg="RS512")
    yield "the other key's name", token(header={"kid": "ec"})
    yield "no such key", token(header={"kid": "gone"})
    yield "critical", token(header={"crit": ["b64"], "b64": True})
    yield "no signature", f"{head}.{body}."
    yield "another body", f"{head}.{token(sub='2').split('.')[1]}.{signature}"
    yield "four parts", good + ".x"
    yield "one part", head
    yield "empty", ""
    yield "nonsense", "." * 3000
    yield "too long", token(padding="x" * 9000)
    yield "claims twice", repeated()
    yield "claims are a list", jws.serialize_compact({"alg": "RS256", "kid": "rsa"}, b"[1]", KEYS["rsa"])
    for name, changes in {
            "expired": {"exp": now - 120}, "no expiry": {"exp": None}, "expiry is text": {"exp": str(now + 300)},
            "expiry is huge": {"exp": 1e300}, "issued in the future": {"iat": now + 600}, "no issue time": {"iat": None},
            "issued long ago": {"iat": now - 7200}, "not yet": {"nbf": now + 600}, "wrong audience": {"aud": "other"},
            "wrong audiences": {"aud": ["a", "b"], "azp": AUDIENCE}, "many audiences, no party": {"aud": [AUDIENCE, "b"]},
            "for another party": {"azp": "other"}, "no audience": {"aud": None}, "audience prefix": {"aud": AUDIENCE + "x"},
            "other issuer": {"iss": ISSUER + "/"}, "no issuer": {"iss": None}, "other subject": {"email": "eve@clinic.example"},
            "no subject": {"email": None}, "subject with NUL": {"email": SUBJECT + "\0"},
            "subject in a list": {"email": [SUBJECT]}, "unverified": {"email_verified": False}}.items():
        yield name, token(**changes)


@pytest.mark.parametrize("what", [name for name, _ in hostile()])
def test_hostile_tokens(clinic, data_client, what):
    bad = dict(hostile())[what]
    assert reason(data_client, clinic, bad) in ("ID_TOKEN_INVALID",), what
    log = clinic.gatekeeper.daemon.text()
    assert len(bad) < 20 or bad[-20:] not in log


def test_a_token_is_nowhere_in_the_record(clinic, data_client):
    good, bad = token(), token(exp=1)
    assert (reason(data_client, clinic, good), reason(data_client, clinic, bad)) == ("", "ID_TOKEN_INVALID")
    for path in (clinic.gatekeeper.folder / "ledger").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert all(one.split(".")[2].encode() not in data for one in (good, bad))


def test_keys_in_a_file_rotate(clinic, data_client):
    following = jwk.RSAKey.generate_key(2048, {"kid": "following"})
    assert reason(data_client, clinic, token(following)) == "ID_TOKEN_INVALID"
    replace(clinic.keys, key_set(KEYS["ec"], following))
    assert reason(data_client, clinic, token(following)) == ""
    assert reason(data_client, clinic, token()) == "ID_TOKEN_INVALID"
    for broken in (b"", b"{}", b'{"keys": []}', json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "rsa"}]}).encode()):
        replace(clinic.keys, broken)
        assert reason(data_client, clinic, token(following)) == ""  # the old ones go on
    replace(clinic.keys, key_set(*KEYS.values()))
    assert reason(data_client, clinic, token()) == ""


def test_pinned_keys_and_bound_nonce(make_system, tmp_path):
    other = jwk.RSAKey.generate_key(2048, {"kid": "other"})
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set(KEYS["rsa"], other))
    system = make_system(rules=RULES, gatekeeper={"id_tokens": options(
        keys=str(keys), thumbprints=[KEYS["rsa"].thumbprint()], bind_nonce=True)})
    client = system.client()

    def ask(key, nonce):
        envelope = system.propose("GET", "proved/x", subject=SUBJECT)
        made = client.types.Transaction.FromString(envelope.payload)
        shown = token(key, nonce=nonce(made.id.hex()))
        try:
            client.stub.CoSign(client.pb.CoSignRequest(envelope=envelope), timeout=60, metadata=[("twokey-id-token", shown)])
        except Exception as error:  # noqa: BLE001
            return Refused(error).reason
        return ""

    assert ask(KEYS["rsa"], lambda id_: id_) == ""
    assert ask(KEYS["rsa"], lambda id_: id_.upper()) == "ID_TOKEN_INVALID"
    assert ask(KEYS["rsa"], lambda id_: os.urandom(16).hex()) == "ID_TOKEN_INVALID"
    assert ask(KEYS["rsa"], lambda id_: None) == "ID_TOKEN_INVALID"
    assert ask(other, lambda id_: id_) == "ID_TOKEN_INVALID"


class Provider:
    """The identity provider's key endpoint, over TLS."""

    def __init__(self, identity):
        self.body, self.status, self.asked = key_set(KEYS["rsa"]), 200, 0
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                provider.asked += 1
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(provider.body)))
                self.end_headers()
                self.wfile.write(provider.body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}/keys"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(60)


def test_keys_from_the_provider(make_system):
    system = make_system(start=False, rules=RULES)
    provider = Provider(system.server_identity)
    try:
        system.gatekeeper.config["id_tokens"] = options(keys_url=provider.url, ca_file=str(system.authority.path))
        system.gatekeeper.write()
        provider.status = 500
        system.start()
        client = system.client()
        assert reason(client, system, token()) == "IDENTITY_PROVIDER_UNAVAILABLE" and provider.asked == 1
        assert reason(client, system, token()) == "IDENTITY_PROVIDER_UNAVAILABLE" and provider.asked == 1  # not at once
        assert reason(client, system) == "ID_TOKEN_REQUIRED" and reason(client, system, name="free/x") == ""
        provider.status = 200
        until(lambda: reason(client, system, token()) == "", timeout=60, what="the provider is back")
        asked = provider.asked
        for _ in range(20):
            assert reason(client, system, token()) == ""
        assert provider.asked == asked  # remembered
        following = jwk.ECKey.generate_key("P-256", {"kid": "following"})
        provider.body = key_set(following)
        until(lambda: reason(client, system, token(following, "ES256")) == "", timeout=60, what="rotation")
        assert reason(client, system, token()) == "ID_TOKEN_INVALID"
        provider.body = b"x" * 300000
        assert reason(client, system, token(following, "ES256")) == ""
    finally:
        provider.close()
    assert reason(client, system, token(following, "ES256")) == ""  # the provider is gone, its keys are remembered


def test_a_provider_that_is_not_who_it_says(make_system):
    """Its certificate is not of the configured authority."""
    system = make_system(start=False, rules=RULES)
    from support.pki import Authority

    provider = Provider(Authority(system.folder / "evil", "another CA").server())
    try:
        system.gatekeeper.config["id_tokens"] = options(keys_url=provider.url, ca_file=str(system.authority.path))
        system.gatekeeper.write()
        system.start()
        assert reason(system.client(), system, token()) == "IDENTITY_PROVIDER_UNAVAILABLE"
        assert provider.asked == 0
    finally:
        provider.close()


@pytest.mark.parametrize("wrong, said", [
    ({"keys": "missing.json"}, "missing.json"), ({}, "either `keys` or `keys_url`"),
    ({"keys_url": "http://x/keys"}, "https://"), ({"keys_url": "https://x/k", "thumbprints": ["AAAA"]}, "RFC 7638")])
def test_mistakes_are_told_before_serving(make_system, wrong, said):
    system = make_system(start=False, rules=RULES)
    system.gatekeeper.config["id_tokens"] = options(**wrong)
    system.gatekeeper.write()
    done = system.twokey("serve", "--config", system.gatekeeper.path, "--check")
    assert done.code == 1 and said in done.err.decode(), done.err.decode()
