"""versitygw, a real S3 server that nobody here wrote, over TLS, on its POSIX backend."""
import os
import pathlib
import socket

import boto3
from botocore.config import Config

from support.process import Daemon, free_port, until

ACCESS, SECRET, REGION = "twokeytestaccess", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYTESTSECRET", "us-east-1"


def _keeps_xattrs(folder):
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.twokey", b"1")
        return True
    except OSError:
        return False
    finally:
        probe.unlink()


def _accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Versitygw:
    def __init__(self, folder, authority, versioning=False, tls=True):
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "buckets"
        self.root.mkdir(parents=True)
        self.ca = authority.path
        identity = authority.server("versitygw")
        self.port, self.tls = free_port(), tls
        argv = ["versitygw", "--access", ACCESS, "--secret", SECRET, "--region", REGION, "--port", f"127.0.0.1:{self.port}",
                *(["--cert", str(identity.certificate), "--key", str(identity.key)] if tls else []), "--quiet", "posix"]
        if not _keeps_xattrs(self.folder):
            (self.folder / "sidecar").mkdir()
            argv += ["--sidecar", str(self.folder / "sidecar")]
        if versioning:
            (self.folder / "versions").mkdir()
            argv += ["--versioning-dir", str(self.folder / "versions")]
        self.daemon = Daemon([*argv, str(self.root)], log=self.folder / "versitygw.log")

    @property
    def endpoint(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def start(self):
        self.daemon.start()
        until(lambda: _accepts(self.port) or not self.daemon.running, what="versitygw accepts connections")
        assert self.daemon.running, self.daemon.text()
        return self

    def stop(self):
        self.daemon.stop()

    def client(self):
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=ACCESS,
                            aws_secret_access_key=SECRET, verify=str(self.ca),
                            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}))

    def make_bucket(self, name):
        self.client().create_bucket(Bucket=name)
        return name
