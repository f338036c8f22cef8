"""The Debian package: installed into a fresh root that a real systemd boots, serving both roles, upgraded, removed."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from support.process import run
from support.stubs import ROOT

HERE = pathlib.Path(__file__).parent / "package"
UNIT = ROOT / "packages" / "systemd" / "twokey@.service"

pytestmark = [pytest.mark.timeout(600),
              pytest.mark.skipif(os.getuid() != 0, reason="bootstrapping a root needs root")]


def build_package(release_bin, version, into):
    into.mkdir()
    done = run(["cpack", "--config", str(release_bin.parent / "CPackConfig.cmake"), "-B", str(into),
                "-D", f"CPACK_PACKAGE_VERSION={version}"], timeout=300)
    assert done.code == 0, done.out.decode() + done.err.decode()
    return next(into.glob("*.deb"))


@pytest.fixture(scope="module")
def package(release_bin, tmp_path_factory):
    return build_package(release_bin, "0.1.0", tmp_path_factory.mktemp("package") / "first")


@pytest.fixture(scope="module")
def newer(release_bin, tmp_path_factory):
    return build_package(release_bin, "0.1.1", tmp_path_factory.mktemp("package") / "second")


def test_lintian(package):
    # Units are templates: systemctl is what restarts their instances.
    done = run(["lintian", "--fail-on", "error,warning", "--suppress-tags", "maintainer-script-calls-systemctl",
                str(package)], timeout=120)
    assert done.code == 0, done.out.decode() + done.err.decode()


def test_the_unit_is_confined():
    done = run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", str(UNIT)])
    said = done.out.decode()
    assert done.code == 0, said + done.err.decode()
    assert float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said).group(1)) <= 1.5


def complete(release_bin, words):
    """What bash would offer for the last word."""
    script = (f"PATH={release_bin.parent}:$PATH; source {ROOT}/packages/twokey.bash-completion; "
              f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _twokey; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    done = run(["bash", "-c", script])
    assert done.code == 0, done.err.decode()
    return done.out.decode().split()


def test_completion(release_bin):
    assert "policy" in complete(release_bin, "twokey pol")
    assert {"--config", "--check"} <= set(complete(release_bin, "twokey serve --c"))
    assert complete(release_bin, "twokey nonsense --") == []


def test_manual_pages(package, tmp_path):
    subprocess.run(["dpkg", "-x", str(package), str(tmp_path)], check=True)
    pages = {path.name for path in (tmp_path / "usr/share/man").rglob("*.gz")}
    assert pages == {"twokey.1.gz", "twokey.yaml.5.gz", "twokey-rules.5.gz"}
    page = run(["man", "--warnings=mac", "-l", str(tmp_path / "usr/share/man/man5/twokey.yaml.5.gz")],
               env={**os.environ, "MANWIDTH": "200"})
    assert "twokey.yaml - configuration of a twokey deployment" in page.out.decode()
    assert "token.pin_source" in page.out.decode()


@pytest.fixture(scope="module")
def root(package, newer, tmp_path_factory):
    """A minimal Debian with the package, what it suggests, and the trial to be run at boot."""
    folder = tmp_path_factory.mktemp("root") / "root"
    done = run(["mmdebstrap", "--variant=minbase", "--include=systemd,dbus,procps,softhsm2,openssl",
                f"--customize-hook=copy-in {package} /root",
                f'--customize-hook=chroot "$1" apt-get install -y -q --no-install-recommends /root/{package.name}',
                "bookworm", str(folder)], timeout=480)
    assert done.code == 0, done.err.decode()[-4000:]
    shutil.copy(newer, folder / "root" / "newer.deb")
    shutil.copy(HERE / "try.sh", folder / "root")
    shutil.copy(HERE / "try.service", folder / "etc/systemd/system")
    subprocess.run(["systemctl", f"--root={folder}", "enable", "-q", "try.service"], check=True)
    yield folder
    shutil.rmtree(folder)


def test_the_unit_is_valid(root):
    done = run(["chroot", str(root), "systemd-analyze", "verify", "--man=no", "twokey@vendor.service"])
    assert done.code == 0 and b"twokey" not in done.err, done.err.decode()


def test_installed_and_booted(root):
    boot = run(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot",
                f"--machine=twokey-{os.getpid()}", "-D", str(root)], timeout=300)
    result = root / "root" / "result"
    told = result.read_text(errors="replace") if result.exists() else boot.out.decode(errors="replace")[-4000:]
    assert told.splitlines().count("passed") == 1, told
