#!/usr/bin/env python3
"""An example of a vendor's web application: serves the report page, and asks the vendor's deployment for transactions.
It never sees a byte of what the page shows.

The Python messages are made from proto/:
  python3 -m grpc_tools.protoc -I proto --python_out=OUT --grpc_python_out=OUT proto/twokey/v1/*.proto
  PYTHONPATH=OUT web/report/backend.py --vendor HOST:PORT --ca CA --cert CERT --key KEY --gatekeeper-url URL"""
import argparse
import base64
import functools
import http.server
import json
import pathlib
import re
import ssl

import grpc
from twokey.v1 import gatekeeper_pb2, gatekeeper_pb2_grpc, transaction_pb2

HERE = pathlib.Path(__file__).resolve().parent
FILES = {"/": (HERE / "index.html", "text/html; charset=utf-8"),
         "/report.js": (HERE / "report.js", "text/javascript"),
         "/report.css": (HERE / "report.css", "text/css"),
         "/twokey.js": (HERE.parent / "twokey/twokey.js", "text/javascript"),
         "/messages.js": (HERE.parent / "twokey/messages.js", "text/javascript")}
PARTS = ("scan.png", "notes.txt")  # of every report; a real application has a database
BODY_MAX = 65536


class Vendor:
    """The vendor's deployment, as its backend sees it."""

    def __init__(self, options):
        read = lambda path: pathlib.Path(path).read_bytes()
        credentials = grpc.ssl_channel_credentials(read(options.ca), read(options.key), read(options.cert))
        self.stub = gatekeeper_pb2_grpc.GatekeeperStub(grpc.secure_channel(options.vendor, credentials))
        self.options = options

    def authorize(self, operation, object_, user, holder, **constraints):
        """An envelope in base64, good for this user, this object and this browser."""
        request = gatekeeper_pb2.AuthorizeRequest(
            operation=operation, gatekeeper=self.options.gatekeeper, bucket=self.options.bucket, object=object_,
            subject=user, purpose="report page")
        request.constraints.MergeFrom(transaction_pb2.Constraints(holder_key_sha256=bytes.fromhex(holder), **constraints))
        answer = self.stub.Authorize(request, timeout=30)
        return base64.b64encode(answer.envelope.SerializeToString()).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, vendor, policy, *arguments):
        self.vendor, self.policy = vendor, policy
        super().__init__(*arguments)

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="text/plain; charset=utf-8"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        found = FILES.get(self.path.split("?")[0])
        if found:
            self.answer(200, found[0].read_bytes(), found[1])
        else:
            self.answer(404, b"there is nothing here")

    def do_POST(self):
        """A real application knows from its session who asks; here it is always the same technician."""
        user = "tech@acme.example"
        try:
            asked = json.loads(self.rfile.read(min(int(self.headers["content-length"]), BODY_MAX)))
            report, holder = asked["report"], asked["holder"]
            if not re.fullmatch(r"[0-9]{1,9}", report) or not re.fullmatch(r"[0-9a-f]{64}", holder):
                raise ValueError("which report?")
            if self.path == "/api/report":
                parts = [{"object": f"reports/{report}/{part}", "envelope": self.vendor.authorize(
                    transaction_pb2.OPERATION_GET, f"reports/{report}/{part}", user, holder)} for part in PARTS]
                made = {"gatekeeper": self.vendor.options.gatekeeper_url, "parts": parts}
            elif self.path == "/api/store":
                name = re.sub(r"[^A-Za-z0-9._-]", "_", asked["name"])[:100]
                made = {"envelope": self.vendor.authorize(
                    transaction_pb2.OPERATION_PUT, f"reports/{report}/{name}", user, holder, exact_bytes=int(asked["bytes"]),
                    content_type=asked["type"] or "application/octet-stream")}
            else:
                raise ValueError("there is nothing here")
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, str(error).encode())
        except grpc.RpcError as error:
            self.answer(502, f"the vendor's deployment refuses: {error.details()}".encode())
        else:
            self.answer(200, json.dumps(made).encode(), "application/json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("vendor", "ca", "cert", "key", "gatekeeper-url"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--gatekeeper", default="gatekeeper", help="the gatekeeper's name")
    parser.add_argument("--bucket", default="reports")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--tls-cert", help="serve HTTPS, as everybody but localhost must")
    parser.add_argument("--tls-key")
    options = parser.parse_args()
    policy = (f"default-src 'none'; script-src 'self'; style-src 'self'; img-src blob:; "
              f"connect-src 'self' {options.gatekeeper_url}; base-uri 'none'; frame-ancestors 'none'")
    host, port = options.listen.rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((host, int(port)), functools.partial(Handler, Vendor(options), policy))
    if options.tls_cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_cert, options.tls_key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(f"report page on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
