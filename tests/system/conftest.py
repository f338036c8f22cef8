"""Fixtures of the system tests. Everything is made in temporary folders, and ended whatever happens."""
import os
import tempfile

import pytest

from support import stubs

# Before grpc is loaded: we start processes while channels are open, and they exec at once.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def pytest_configure(config):
    config.stubs_folder = tempfile.TemporaryDirectory(prefix="twokey-stubs-")
    stubs.generate(config.stubs_folder.name)


def pytest_unconfigure(config):
    config.stubs_folder.cleanup()


@pytest.fixture(scope="session")
def twokey_bin():
    from support.deployment import environment_binary

    return environment_binary("TWOKEY_BIN", "build/dev/twokey")


@pytest.fixture(scope="session")
def release_bin():
    from support.deployment import environment_binary

    return environment_binary("TWOKEY_RELEASE_BIN", "build/release/twokey")


def _systems(tmp_path_factory, binary):
    from support.deployment import System

    made = []

    def make(start=True, binary=binary, **options):
        system = System(tmp_path_factory.mktemp("system"), binary, **options)
        made.append(system)
        return system.start() if start else system

    try:
        yield make
        for system in made:
            system.stop()
    finally:
        for system in made:
            system.abandon()


@pytest.fixture
def make_system(tmp_path_factory, twokey_bin):
    """A factory of deployments for one test; they must also end in good order."""
    yield from _systems(tmp_path_factory, twokey_bin)


@pytest.fixture(scope="module")
def make_module_system(tmp_path_factory, twokey_bin):
    yield from _systems(tmp_path_factory, twokey_bin)


@pytest.fixture(scope="module")
def system(make_module_system):
    """Deployments with a directory store and open rules, shared by a file's tests."""
    return make_module_system()


@pytest.fixture(scope="module")
def backend(system):
    from support.deployment import BACKEND

    return system.client("vendor", BACKEND)


@pytest.fixture(scope="module")
def client(system):
    """A data client: no certificate."""
    return system.client()


@pytest.fixture(scope="module")
def auditor(system):
    from support.deployment import AUDITOR

    return system.client("gatekeeper", AUDITOR)


@pytest.fixture(scope="module")
def postgres():
    """A running PostgreSQL, also reached at 127.0.0.1; each deployment takes a schema of its own."""
    from support.postgres import Postgres
    from support.process import free_port

    with tempfile.TemporaryDirectory(prefix="twokey-pg-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        server = Postgres(folder)
        server.port = free_port()
        server.init()
        try:
            server.start(server.port, "127.0.0.1")
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory):
    """A running S3 server with the bucket `reports`."""
    from support import pki, s3

    folder = tmp_path_factory.mktemp("s3")
    server = s3.Versitygw(folder, pki.Authority(folder / "tls", "S3 CA"))
    try:
        server.start()
        server.make_bucket("reports")
        yield server
        server.stop()
    finally:
        server.daemon.kill()


@pytest.fixture(scope="module")
def s3_system(make_module_system, versitygw):
    return make_module_system(store=versitygw)
