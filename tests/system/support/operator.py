"""An operator of a deployment: the Policy service, by grpcio, grpcurl or the command line."""
import base64
import collections
import json

from support.client import Client, refusing
from support.process import run

Explained = collections.namedtuple("Explained", "explanation differences summary")


class Operator(Client):
    """A client with the Policy service."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        from twokey.v1 import policy_pb2, policy_pb2_grpc

        self.policy_pb, self.policy = policy_pb2, policy_pb2_grpc.PolicyStub(self.channel)

    def target(self, **fields):
        """transaction_id, object, prefix, user, account or vendor_key; with bucket for an object or prefix."""
        bucket = fields.pop("bucket", "")
        (kind, value), = fields.items()
        if kind in ("object", "prefix"):
            value = self.policy_pb.ObjectName(bucket=bucket, object=value)
        return self.policy_pb.Target(**{kind: value})

    @refusing
    def revoke(self, why="a test", **target):
        request = self.policy_pb.RevokeRequest(target=self.target(**target), why=why)
        return self.policy.Revoke(request, timeout=self.timeout).record

    @refusing
    def reinstate(self, why="a test", **target):
        request = self.policy_pb.ReinstateRequest(target=self.target(**target), why=why)
        return self.policy.Reinstate(request, timeout=self.timeout).record

    @refusing
    def expire(self, at=None, why="a test", bucket="", **what):
        (kind, value), = what.items()
        request = self.policy_pb.SetExpiryRequest(why=why, **{kind: self.policy_pb.ObjectName(bucket=bucket, object=value)})
        if at is not None:
            request.expires_at.FromNanoseconds(int(at * 1e9))
        return self.policy.SetExpiry(request, timeout=self.timeout).record

    def _object(self, name, bucket):
        return self.policy_pb.ObjectName(bucket=bucket, object=name)

    @refusing
    def add_user(self, object_, user, why="a test", bucket=""):
        request = self.policy_pb.AddUserRequest(object=self._object(object_, bucket), user=user, why=why)
        return self.policy.AddUser(request, timeout=self.timeout).record

    @refusing
    def remove_user(self, object_, user="", whole_list=False, why="a test", bucket=""):
        """Without a user, the whole list."""
        whole_list = whole_list or not user
        request = self.policy_pb.RemoveUserRequest(object=self._object(object_, bucket), user=user, whole_list=whole_list,
                                                   why=why)
        return self.policy.RemoveUser(request, timeout=self.timeout).record

    @refusing
    def lockdown(self, release=False, why="a test"):
        return self.policy.Lockdown(self.policy_pb.LockdownRequest(release=release, why=why), timeout=self.timeout).record

    @refusing
    def restrictions(self):
        request = self.policy_pb.ListRestrictionsRequest()
        return [one for page in self.policy.ListRestrictions(request, timeout=self.timeout) for one in page.restrictions]

    @refusing
    def rules(self):
        return self.policy.Get(self.policy_pb.GetRulesRequest(), timeout=self.timeout)

    @refusing
    def reload(self, why=""):
        return self.policy.Reload(self.policy_pb.ReloadRequest(why=why), timeout=self.timeout)

    @refusing
    def _explain(self, request):
        explanation, differences, summary = None, [], None
        for response in self.policy.Explain(request, timeout=self.timeout):
            part = response.WhichOneof("part")
            if part == "explanation":
                explanation = response.explanation
            elif part == "difference":
                differences.append(response.difference)
            else:
                summary = response.summary
        return Explained(explanation, differences, summary)

    def explain(self, operation, object_, **fields):
        request = self.policy_pb.HypotheticalRequest(operation=self.types.Operation.Value("OPERATION_" + operation),
                                                     object=object_, **{"bucket": "reports", "address": "127.0.0.1",
                                                                        "subject": "dr.bell", **fields})
        return self._explain(self.policy_pb.ExplainRequest(request=request)).explanation

    def replay(self, rules, **fields):
        replay = self.policy_pb.Replay(rules=rules.encode(), **fields)
        return self._explain(self.policy_pb.ExplainRequest(replay=replay))


def operator(system, party="gatekeeper", identity="operator.test.example", **options):
    """A new channel; closed with the system."""
    made = Operator(getattr(system, party).address, system.authority.path, system.identities.get(identity), **options)
    system.clients.append(made)
    return made


class GrpcurlOperator:
    """The same changes by grpcurl: nothing but an address, a CA and a certificate."""

    def __init__(self, system, party="gatekeeper", identity="operator.test.example"):
        self.system, self.party, self.identity = system, party, identity

    def call(self, method, body):
        paths = self.system.identities[self.identity]
        done = run(["grpcurl", "-cacert", str(self.system.authority.path), "-cert", str(paths.certificate), "-key",
                    str(paths.key), "-max-time", "20", "-d", "@", getattr(self.system, self.party).address,
                    f"twokey.v1.Policy/{method}"], stdin=json.dumps(body).encode())
        assert done.code == 0, done.err.decode()
        return json.loads(done.out)

    @staticmethod
    def _target(target):
        bucket = target.pop("bucket", "")
        (kind, value), = target.items()
        if kind in ("object", "prefix"):
            value = {"bucket": bucket, "object": value}
        if kind == "transaction_id":
            value = base64.b64encode(value).decode()
        return {kind: value}

    def revoke(self, **target):
        return self.call("Revoke", {"target": self._target(target), "why": "by grpcurl"})

    def reinstate(self, **target):
        return self.call("Reinstate", {"target": self._target(target), "why": "by grpcurl"})

    def lockdown(self, release=False):
        return self.call("Lockdown", {"release": release, "why": "by grpcurl"})

    def expire(self, at, **what):
        body = {**self._target(what), "why": "by grpcurl"}
        if at:
            body["expiresAt"] = at
        return self.call("SetExpiry", body)

    def add_user(self, object_, user):
        return self.call("AddUser", {"object": {"object": object_}, "user": user, "why": "by grpcurl"})

    def remove_user(self, object_, user):
        body = {"object": {"object": object_}, "why": "by grpcurl"}
        return self.call("RemoveUser", {**body, "user": user} if user else {**body, "wholeList": True})


class CommandOperator:
    """The same changes by `twokey policy`."""

    def __init__(self, system, party="gatekeeper", identity="operator.test.example"):
        self.system, self.party, self.identity = system, party, identity

    def call(self, *words):
        done = self.system.twokey("policy", *words, *self.system.connection(self.party, self.identity))
        assert done.code == 0, done.err.decode()
        return done.out.decode()

    @staticmethod
    def _target(target):
        words = []
        for kind, value in target.items():
            kind = {"transaction_id": "transaction", "vendor_key": "vendor-key"}.get(kind, kind)
            words += [f"--{kind}", value.hex() if isinstance(value, bytes) else value]
        return words

    def revoke(self, **target):
        return self.call("revoke", *self._target(target), "--why", "by command")

    def reinstate(self, **target):
        return self.call("reinstate", *self._target(target), "--why", "by command")

    def lockdown(self, release=False):
        return self.call("lockdown", *(["--release"] if release else []), "--why", "by command")

    def expire(self, at, **what):
        return self.call("expire", *self._target(what), *(["--at", at] if at else ["--never"]), "--why", "by command")

    def add_user(self, object_, user):
        return self.call("add-user", "--object", object_, "--user", user, "--why", "by command")

    def remove_user(self, object_, user):
        return self.call("remove-user", "--object", object_, *(["--user", user] if user else ["--whole-list"]), "--why",
                         "by command")
