"""A browser without a browser: gRPC-Web and PUT by http.client, and connections that misbehave."""
import base64
import collections
import http.client
import json
import socket
import ssl
import struct
import urllib.parse

from support.client import CHUNK

Answer = collections.namedtuple("Answer", "status headers messages code message reason record")
STORE = "/twokey.v1.Gatekeeper/Store"


def frame(message):
    return b"\0" + struct.pack(">I", len(message)) + message


def unframe(body):
    """The messages and the trailers of a response's body."""
    messages, trailers, at = [], {}, 0
    while at < len(body):
        flags, length = struct.unpack_from(">BI", body, at)
        part = body[at + 5:at + 5 + length]
        assert len(part) == length, "the body ends within a frame"
        at += 5 + length
        if flags & 0x80:
            trailers = dict(line.split(":", 1) for line in part.decode().split("\r\n") if line)
        else:
            messages.append(part)
    return messages, trailers


def unbase64(text):
    """What may consist of several pieces, each padded."""
    return b"".join(base64.b64decode(text[at:at + 4]) for at in range(0, len(text), 4))


def error_info(trailers):
    from google.rpc import error_details_pb2, status_pb2

    details = trailers.get("grpc-status-details-bin")
    if not details:
        return "", None
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info) and info.domain == "twokey"
    return info.reason, int(info.metadata["record"]) if "record" in info.metadata else None


class Browser:
    """Connections to a party's web listener, with or without a client certificate."""

    def __init__(self, system, party="gatekeeper", identity=None):
        from twokey.v1 import gatekeeper_pb2

        self.pb, self.host = gatekeeper_pb2, "127.0.0.1"
        daemon = getattr(system, party).daemon
        self.port = int(daemon.wait_for_line(r"\bserving browsers address=\S*:(\d+)").group(1))
        self.context = ssl.create_default_context(cafile=str(system.authority.path))
        if identity:
            paths = system.identities[identity]
            self.context.load_cert_chain(paths.certificate, paths.key)

    @property
    def origin(self):
        return f"https://{self.host}:{self.port}"

    def connect(self):
        return http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=60)

    def raw(self, receive_buffer=None):
        """A TLS connection to write anything to."""
        plain = socket.socket()
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(60)
        plain.connect((self.host, self.port))
        return self.context.wrap_socket(plain, server_hostname=self.host)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def call(self, method, message=b"", text=False, headers=None, body=None):
        """A gRPC-Web call to its end. `method`: "Fetch", or a whole path; `message`: bytes or a message."""
        path = method if method.startswith("/") else f"/twokey.v1.Gatekeeper/{method}"
        kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
        if body is None:
            body = frame(message if isinstance(message, bytes) else message.SerializeToString())
            body = base64.b64encode(body) if text else body
        status, answered, body = self.request("POST", path, body, {"content-type": kind, **(headers or {})})
        if status != 200:
            return Answer(status, answered, [], None, body.decode().strip(), "", None)
        assert answered["content-type"] == (kind + "+proto" if text else kind)
        messages, trailers = unframe(unbase64(body) if text else body)
        reason, record = error_info(trailers)
        return Answer(status, answered, messages, int(trailers["grpc-status"]),
                      urllib.parse.unquote(trailers.get("grpc-message", "")), reason, record)

    def fetch(self, envelope, **options):
        """The bytes of an object and the answer."""
        answer = self.call("Fetch", self.pb.FetchRequest(envelope=envelope), **options)
        parts = [self.pb.FetchResponse.FromString(message) for message in answer.messages]
        return b"".join(part.chunk for part in parts), answer

    def put(self, envelope, body, proof=None, headers=None):
        """HTTP status and JSON."""
        headers = dict(headers or {})
        if envelope is not None:
            headers["x-twokey-envelope"] = base64.urlsafe_b64encode(envelope.SerializeToString()).decode().rstrip("=")
        if proof is not None:
            headers["x-twokey-holder-proof"] = base64.urlsafe_b64encode(proof.SerializeToString()).decode()
        status, _, answer = self.request("PUT", STORE, body, headers)
        return status, json.loads(answer)

    def begin_fetch(self, envelope, receive_buffer=None):
        """A raw connection on which a Fetch has been asked for, and nothing read."""
        body = frame(self.pb.FetchRequest(envelope=envelope).SerializeToString())
        connection = self.raw(receive_buffer)
        connection.sendall(b"POST /twokey.v1.Gatekeeper/Fetch HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n"
                           b"content-type: application/grpc-web\r\n\r\n%s" % (len(body), body))
        return connection


def pieces(data):
    """An iterable body: sent in chunks, its length not announced."""
    for at in range(0, len(data), CHUNK):
        yield data[at:at + CHUNK]
