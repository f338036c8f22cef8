"""A client of the service in a few lines of grpcio."""
import collections
import hashlib

import grpc

Fetched = collections.namedtuple("Fetched", "head data tail")
CHUNK = 256 << 10


class Refused(Exception):
    """A call that ended with a status: its code, the reason and the record's index from google.rpc.ErrorInfo."""

    def __init__(self, error):
        self.code, self.message = error.code(), error.details()
        self.reason, self.record, self.domain = "", None, ""
        info = error_info(error)
        if info is not None:
            self.reason, self.domain = info.reason, info.domain
            if "record" in info.metadata:
                self.record = int(info.metadata["record"])
        super().__init__(f"{self.code.name}: {self.reason}: {self.message} (record {self.record})")


def error_info(error):
    """The google.rpc.ErrorInfo of a failed call, or None."""
    from google.rpc import error_details_pb2, status_pb2

    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        status = status_pb2.Status.FromString(value)
        assert status.code == error.code().value[0], "the details contradict the status"
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return info
    return None


def refusing(function):
    """Turns grpc.RpcError into Refused."""

    def call(*arguments, **options):
        try:
            return function(*arguments, **options)
        except grpc.RpcError as error:
            raise Refused(error) from None

    return call


class Client:
    """One channel to one deployment, with or without a client certificate."""

    def __init__(self, address, ca, identity=None, options=(), timeout=60):
        from twokey.v1 import audit_pb2, audit_pb2_grpc, gatekeeper_pb2, gatekeeper_pb2_grpc, transaction_pb2

        self.pb, self.audit_pb, self.types = gatekeeper_pb2, audit_pb2, transaction_pb2
        certificate = key = None
        if identity:
            certificate, key = identity.certificate.read_bytes(), identity.key.read_bytes()
        credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, certificate)
        # A channel of its own: channels with equal options would share one connection.
        self.channel = grpc.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1), *options])
        self.stub = gatekeeper_pb2_grpc.GatekeeperStub(self.channel)
        self.records = audit_pb2_grpc.AuditStub(self.channel)
        self.timeout = timeout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.channel.close()

    @refusing
    def authorize(self, operation, bucket, object_, subject="dr.bell", gatekeeper="gatekeeper", **fields):
        constraints = fields.pop("constraints", None)
        request = self.pb.AuthorizeRequest(operation=self.types.Operation.Value("OPERATION_" + operation.upper()),
                                           gatekeeper=gatekeeper, bucket=bucket, object=object_, subject=subject, **fields)
        if constraints:
            request.constraints.MergeFrom(self.types.Constraints(**constraints))
        return self.stub.Authorize(request, timeout=self.timeout)

    @refusing
    def cosign(self, envelope, proof=None):
        return self.stub.CoSign(self.pb.CoSignRequest(envelope=envelope, proof=proof), timeout=self.timeout)

    @refusing
    def fetch(self, envelope, proof=None):
        head, tail, data, order = None, None, bytearray(), []
        for response in self.stub.Fetch(self.pb.FetchRequest(envelope=envelope, proof=proof), timeout=self.timeout):
            part = response.WhichOneof("part")
            if not order or order[-1] != part:
                order.append(part)
            if part == "head":
                head = response.head
            elif part == "chunk":
                data += response.chunk
            else:
                tail = response.tail
        assert order in (["head", "chunk", "tail"], ["head", "tail"]), order
        assert tail.bytes == len(data) == head.size and tail.sha256 == hashlib.sha256(data).digest()
        return Fetched(head, bytes(data), tail)

    def _store_messages(self, envelope, chunks, proof, content_type):
        head = self.pb.StoreHead(envelope=envelope, proof=proof, content_type=content_type)
        yield self.pb.StoreRequest(head=head)
        sent, digest = 0, hashlib.sha256()
        for chunk in chunks:
            sent += len(chunk)
            digest.update(chunk)
            yield self.pb.StoreRequest(chunk=chunk)
        yield self.pb.StoreRequest(tail=self.pb.StoreTail(bytes=sent, sha256=digest.digest()))

    @refusing
    def store(self, envelope, data, proof=None, content_type=""):
        """`data`: bytes, or an iterable of chunks."""
        if isinstance(data, (bytes, bytearray)):
            data = [bytes(data[at:at + CHUNK]) for at in range(0, len(data), CHUNK)]
        return self.stub.Store(self._store_messages(envelope, data, proof, content_type), timeout=self.timeout)

    @refusing
    def list(self, envelope, proof=None):
        """All entries, and the tail."""
        entries, tail = [], None
        for page in self.stub.List(self.pb.ListRequest(envelope=envelope, proof=proof), timeout=self.timeout):
            assert tail is None, "a page after the tail"
            entries += page.objects
            if page.HasField("tail"):
                tail = page.tail
        assert tail is not None and tail.count == len(entries)
        return entries, tail

    @refusing
    def remove(self, envelope, proof=None):
        return self.stub.Remove(self.pb.RemoveRequest(envelope=envelope, proof=proof), timeout=self.timeout)

    @refusing
    def search(self, **fields):
        """Records, newest first, and the tail."""
        request = self.audit_pb.SearchRequest(**{"limit": 10000, **fields})
        records, tail = [], None
        for response in self.records.Search(request, timeout=self.timeout):
            records += response.records
            if response.HasField("tail"):
                tail = response.tail
        return records, tail

    @refusing
    def record(self, index):
        return self.records.Get(self.audit_pb.GetRecordRequest(index=index), timeout=self.timeout)

    @refusing
    def raw(self, method, body, compression=None):
        """Any bytes to any method, as a unary call; the answer's bytes."""
        call = self.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        return call(body, timeout=self.timeout, compression=compression)

    @refusing
    def raw_stream(self, method, bodies):
        """Any messages to any method, as a stream both ways; the list of answers."""
        call = self.channel.stream_stream(method, request_serializer=bytes, response_deserializer=bytes)
        return list(call(iter(bodies), timeout=self.timeout))
