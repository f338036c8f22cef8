"""A real browser: headless Chromium on the report page, while the gatekeeper denies every address of the vendor's. Screenshots
go to build/screenshots."""
import base64
import http.client
import os
import pathlib
import struct
import sys
import zlib

import pytest

from support import web
from support.deployment import BACKEND
from support.operator import operator
from support.process import Daemon, free_port

pytestmark = pytest.mark.timeout(300)
ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOTS = ROOT / "build/screenshots"
VENDOR_ADDRESS = "127.0.0.9"
PATIENCE = 60000
RULES = f"""
version: 1
rules:
  - name: not-the-vendor
    effect: deny
    networks: ["{VENDOR_ADDRESS}/32"]
  - name: everybody-else
    effect: allow
"""
NOTES = "2026-11-21 02:14 door 3 opened\n2026-11-21 02:15 <b>door 3</b> closed\n"


def png(width=320, height=160):
    """A picture, made here."""
    rows = b"".join(b"\0" + b"".join(bytes((x * 255 // width, y * 255 // height, 120)) for x in range(width)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def port():
    return free_port()


@pytest.fixture(scope="module")
def system(make_module_system, port):
    origins = [f"http://127.0.0.1:{port}"]
    made = make_module_system(rules=RULES, gatekeeper={"web": {"listen": "127.0.0.1:0", "origins": origins}})
    client = made.client()
    for report in ("7", "8"):
        client.store(made.propose("PUT", f"reports/{report}/scan.png"), png(), content_type="image/png")
        client.store(made.propose("PUT", f"reports/{report}/notes.txt"), NOTES.encode(), content_type="text/plain; charset=utf-8")
    made.put(client, "big", os.urandom(24 << 20))
    return made


@pytest.fixture(scope="module")
def report_url(system, port, pytestconfig):
    """The example vendor backend, as a process of its own."""
    identity = system.identities[BACKEND]
    daemon = Daemon([sys.executable, str(ROOT / "web/report/backend.py"), "--vendor", system.vendor.address,
                     "--ca", str(system.authority.path), "--cert", str(identity.certificate), "--key", str(identity.key),
                     "--gatekeeper-url", web.Browser(system).origin, "--listen", f"127.0.0.1:{port}"],
                    env={**os.environ, "PYTHONPATH": pytestconfig.stubs_folder.name}, log=system.folder / "backend.log")
    daemon.start()
    try:
        daemon.wait_for_line("report page on port", timeout=60)
        yield f"http://127.0.0.1:{port}/"
    finally:
        daemon.kill()


@pytest.fixture
def page(chromium):
    context = chromium.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if "Content Security Policy" in message.text else None)
    yield page
    context.close()
    assert not page.problems


def part(page, name):
    return page.locator(f'article[data-object="{name}"]')


def shot(page, name):
    page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)


def open_report(page, url, report="7"):
    page.goto(f"{url}?report={report}")
    page.wait_for_selector("body[data-ready=yes]")


def test_the_report_shows_what_never_passed_the_vendor(system, report_url, page, auditor):
    open_report(page, report_url)
    image = part(page, "reports/7/scan.png").locator("img")
    assert image.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [320, 160]
    assert part(page, "reports/7/notes.txt").locator("pre").text_content() == NOTES
    assert page.locator("#timeline li").count() == 2
    shot(page, "report-1280")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(page, "report-390")
    records = auditor.search(object_prefix="reports/7/", event=5, decision=1)[0]
    assert len(records) == 2 and {record.address for record in records} == {"127.0.0.1"}
    assert all("Chrome" in record.user_agent and record.subject == "tech@acme.example" for record in records)


def test_the_vendor_itself_is_denied(system):
    browser = web.Browser(system)
    connection = http.client.HTTPSConnection(browser.host, browser.port, context=browser.context, timeout=60,
                                             source_address=(VENDOR_ADDRESS, 0))
    body = web.frame(browser.pb.FetchRequest(envelope=system.propose("GET", "reports/7/notes.txt")).SerializeToString())
    connection.request("POST", "/twokey.v1.Gatekeeper/Fetch", body, {"content-type": "application/grpc-web"})
    messages, trailers = web.unframe(connection.getresponse().read())
    connection.close()
    assert not messages and web.error_info(trailers)[0] == "NETWORK_DENIED"


def test_a_refusal_in_a_person_s_words(system, report_url, page, auditor):
    boss = operator(system)
    boss.revoke(object="reports/8/scan.png")
    open_report(page, report_url, "8")
    refused = part(page, "reports/8/scan.png").locator("p.refused").text_content()
    record = auditor.search(object="reports/8/scan.png", decision=2)[0][0]
    assert refused == f"The customer has taken this back. To ask why, quote number {record.index} to the customer's operator."
    assert part(page, "reports/8/notes.txt").locator("pre").text_content() == NOTES
    page.emulate_media(color_scheme="dark")
    shot(page, "report-refused-dark")
    boss.lockdown()
    open_report(page, report_url, "8")
    boss.lockdown(release=True)
    assert part(page, "reports/8/notes.txt").locator("p.refused").text_content().startswith("The customer has stopped all access")


def test_store_from_the_page(system, report_url, page):
    open_report(page, report_url)
    data = os.urandom(700000)
    page.set_input_files("#file", {"name": "added.bin", "mimeType": "application/octet-stream", "buffer": data})
    page.click("#add button")
    page.wait_for_selector("#added.done")
    assert system.get(system.client(), "reports/7/added.bin").data == data
    page.click("#add button")
    page.wait_for_selector("#added.refused")
    assert page.text_content("#added").startswith("There is a file of that name already.")
    shot(page, "report-stored")


def test_revoked_while_streaming(system, report_url, page, auditor):
    """The page has begun to read; the operator takes the object back; the page learns it in the middle."""
    open_report(page, report_url)
    envelope = base64.b64encode(system.propose("GET", "big").SerializeToString()).decode()
    page.evaluate("""async ([url, envelope]) => {
        const { Gatekeeper } = await import("/twokey.js");
        const { head, stream } = await new Gatekeeper(url).fetch(envelope);
        window.reader = stream.getReader();
        window.bytes = (await window.reader.read()).value.length;
    }""", [web.Browser(system).origin, envelope])
    boss = operator(system)
    boss.revoke(object="big")
    end = page.evaluate("""async () => {
        try {
            for (;;) {
                const { done, value } = await window.reader.read();
                if (done) return { done, bytes: window.bytes };
                window.bytes += value.length;
            }
        } catch (error) {
            return { name: error.name, reason: error.reason, status: error.status, bytes: window.bytes };
        }
    }""")
    boss.reinstate(object="big")
    assert end["name"] == "Refusal" and end["bytes"] < 24 << 20
    assert end["reason"] == "REVOKED" or end["status"] == "UNAVAILABLE", "said, or cut in the middle of a message"
    assert auditor.search(object="big", event=9)[0][0].outcome == "REVOKED"


def test_other_pages_are_kept_out(system, chromium):
    """A page of another origin: the browser itself refuses to ask."""
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto("about:blank")
    outcome = page.evaluate("""async (url) => {
        try {
            await fetch(url + "/twokey.v1.Gatekeeper/CoSign", { method: "POST", body: "", headers: { "content-type": "application/grpc-web" } });
            return "answered";
        } catch (error) {
            return error.name;
        }
    }""", web.Browser(system).origin)
    context.close()
    assert outcome == "TypeError"
