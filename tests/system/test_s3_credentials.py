"""A gatekeeper without an S3 secret of its own: its certificate's key is in the token, and IAM Roles Anywhere, played here
by a server that checks the signature, gives it what it needs for a while."""
import datetime
import hashlib
import http.server
import json
import re
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support import s3
from support.deployment import AUDITOR
from support.process import free_port

ARN = "arn:aws:{}:eu-central-1:123456789012:{}/x"


def issue(public_pem):
    """A certificate for a public key, by a CA of the moment."""
    ca, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gatekeeper")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(serialization.load_pem_public_key(public_pem)).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    return made.sign(ca, hashes.SHA256())


class Sessions(http.server.BaseHTTPRequestHandler):
    """CreateSession: what AWS would check of the signature."""

    certificate, sessions, problems = None, 0, []

    def log_message(self, *_):
        pass

    def canonical(self, names, body):
        path, query = self.path.split("?")
        lines = "".join(f"{name}:{self.headers[name]}\n" for name in names)
        return f"POST\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{hashlib.sha256(body).hexdigest()}"

    def check(self, body):
        match = re.fullmatch(r"AWS4-X509-ECDSA-SHA256 Credential=(\d+)/(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]+)",
                             self.headers["authorization"])
        serial, scope, names, signature = match.groups()
        assert int(serial) == self.certificate.serial_number
        assert names == "content-type;host;x-amz-date;x-amz-x509"
        hashed = hashlib.sha256(self.canonical(names.split(";"), body).encode()).hexdigest()
        signed = f"AWS4-X509-ECDSA-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{hashed}"
        self.certificate.public_key().verify(bytes.fromhex(signature), signed.encode(), ec.ECDSA(hashes.SHA256()))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            self.check(body)
        except Exception as problem:  # the test looks at it
            self.problems.append(repr(problem))
            self.send_error(403)
            return
        Sessions.sessions += 1
        ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=json.loads(body)["durationSeconds"])
        credentials = {"accessKeyId": s3.ACCESS, "secretAccessKey": s3.SECRET, "sessionToken": "not-looked-at",
                       "expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
        answer = json.dumps({"credentialSet": [{"credentials": credentials}]}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture
def sessions():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Sessions)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_roles_anywhere(make_system, versitygw, sessions):
    settings = {"trust_anchor": ARN.format("rolesanywhere", "trust-anchor"), "profile": ARN.format("rolesanywhere", "profile"),
                "role": "arn:aws:iam::123456789012:role/gatekeeper", "certificate": "roles.pem", "endpoint": sessions,
                "duration": 900}
    bucket = {"name": "reports", "store": "s3", "endpoint": versitygw.endpoint, "region": s3.REGION, "path_style": True,
              "ca_file": str(versitygw.ca), "credentials": "roles-anywhere", "roles_anywhere": settings}
    system = make_system(start=False, gatekeeper={"buckets": [bucket]})
    folder = system.gatekeeper.folder
    Sessions.certificate = issue((folder / "gatekeeper.roles-anywhere-reports.pem").read_bytes())
    (folder / "roles.pem").write_bytes(Sessions.certificate.public_bytes(serialization.Encoding.PEM))
    system.start()
    client = system.client()
    system.put(client, "with/a/role", b"content " * 1000)
    assert system.get(client, "with/a/role").data == b"content " * 1000
    assert Sessions.problems == [] and Sessions.sessions == 1
    records, _ = system.client("gatekeeper", AUDITOR).search(object="with/a/role")
    assert records
    for secret in (s3.SECRET, "not-looked-at"):
        assert secret not in system.logs()
