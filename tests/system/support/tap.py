"""A box on the line that ends TLS with the server's own certificate, passes everything on, and keeps a copy."""
import collections
from concurrent import futures

import grpc

from support.process import free_port

Stolen = collections.namedtuple("Stolen", "method messages")


class Tap(grpc.GenericRpcHandler):
    """Every call of every method, both ways as bytes. `metadata` is added to each."""

    def __init__(self, target, ca, identity, metadata=()):
        self.stolen, self.metadata = [], list(metadata)
        self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(ca.read_bytes()))
        self.server = grpc.server(futures.ThreadPoolExecutor(16), handlers=[self])
        credentials = grpc.ssl_server_credentials([(identity.key.read_bytes(), identity.certificate.read_bytes())])
        self.address = f"127.0.0.1:{free_port()}"
        self.server.add_secure_port(self.address, credentials)

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(None).wait()
        self.channel.close()

    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._pass(details.method, requests, context))

    def _pass(self, method, requests, context):
        messages = []

        def copied():
            for message in requests:
                messages.append(message)
                yield message

        call = self.channel.stream_stream(method)(copied(), metadata=self.metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            context.set_trailing_metadata([(key, value) for key, value in error.trailing_metadata()
                                           if key == "grpc-status-details-bin"])
            context.abort(error.code(), error.details())
        finally:
            self.stolen.append(Stolen(method, messages))
