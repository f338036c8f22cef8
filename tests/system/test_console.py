"""The operator console in a real browser with the operator's certificate. Screenshots go to build/screenshots."""
import re

import pytest

from support import web
from support.deployment import AUDITOR, BACKEND, OPERATOR
from support.process import until
from test_browser import PATIENCE, chromium, shot  # noqa: F401

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def system(make_module_system):
    made = make_module_system(gatekeeper={"web": {"listen": "127.0.0.1:0", "console": True}})
    client = made.client()
    for n in range(12):
        made.put(client, f"reports/{n}.txt", b"x" * n, subject=f"user{n % 3}")
        made.get(client, f"reports/{n}.txt", subject=f"user{n % 3}")
    return made


@pytest.fixture(scope="module")
def url(system):
    return web.Browser(system).origin


@pytest.fixture
def console(chromium, system, url, request):  # noqa: F811
    identity = system.identities[getattr(request, "param", OPERATOR)]
    context = chromium.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900}, client_certificates=[
        {"origin": url, "certPath": str(identity.certificate), "keyPath": str(identity.key)}])
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.problems, page.asked = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("request", lambda asked: page.asked.append(asked.url))
    page.goto(url + "/")
    page.wait_for_selector("body[data-ready=yes]")
    yield page
    context.close()
    assert not page.problems and all(asked.startswith(url) for asked in page.asked), "something came from elsewhere"


def holds(page, expression):
    """Waits until it is true. (Playwright's own wait evaluates text within the page, which the page's policy forbids.)"""
    until(lambda: page.evaluate(expression), 60, expression, pause=0.1)


def test_without_a_certificate_there_is_no_console(system):
    for path in ("/", "/index.html", "/console.js", "/twokey.js"):
        assert web.Browser(system).request("GET", path)[0] == 403
    status, headers, body = web.Browser(system, identity=AUDITOR).request("GET", "/")
    assert status == 200 and b"twokey console" in body
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert web.Browser(system, identity=AUDITOR).request("GET", "/../etc/passwd")[0] == 404


def test_the_record_is_searched_and_shown(console):
    assert "well" in console.text_content("#health")
    assert console.locator("#rows tr").count() > 24
    console.fill("#search [name=objectPrefix]", "reports/7")
    console.fill("#search [name=why]", "a test looks")
    console.click("#search button")
    holds(console, "[...document.querySelectorAll('#rows tr')].every(row => row.cells[6].textContent === 'reports/7.txt')")
    assert console.locator("#rows tr").count() >= 4
    console.locator("#rows tr").first.focus()
    console.keyboard.press("ArrowDown")
    console.keyboard.press("Enter")
    console.wait_for_selector("dialog[open]")
    assert '"object": "reports/7.txt"' in console.text_content("#full")
    console.keyboard.press("Escape")


def test_figures(console):
    assert re.match(r"Grants and refusals over time: \d+ granted, \d+ denied", console.get_attribute("#timeline", "aria-label"))
    assert "user1" in console.text_content("#users") and "127.0.0.0/24" in console.text_content("#networks")
    shot(console, "console-1280")
    console.emulate_media(color_scheme="dark")
    shot(console, "console-dark")
    console.set_viewport_size({"width": 390, "height": 844})
    assert console.evaluate("document.documentElement.scrollWidth") <= 390
    shot(console, "console-390")


def test_live(console, system):
    console.fill("#search [name=objectPrefix]", "live/")
    console.check("#live")
    console.click("#search button")
    holds(console, "document.querySelectorAll('#rows tr').length === 0")
    client = system.client()
    for n in range(1000):  # until the tail has begun
        system.put(client, f"live/{n}", b"")
        if console.locator("#rows tr").count():
            break
    holds(console, "document.querySelectorAll('#rows tr').length > 0")


def test_restrictions(console, system, auditor):
    console.select_option("#change [name=action]", "Revoke")
    console.select_option("#change [name=kind]", "object")
    console.fill("#change [name=name]", "reports/3.txt")
    console.fill("#change [name=why]", "shown to the wrong person")
    console.click("#change button")
    holds(console, "document.getElementById('restricted').textContent.includes('shown to the wrong person')")
    assert web.Browser(system).fetch(system.propose("GET", "reports/3.txt"))[1].reason == "REVOKED"
    assert auditor.search(event=13, limit=1)[0][0].identity == OPERATOR
    shot(console, "console-restricted")
    console.select_option("#change [name=action]", "Reinstate")
    console.fill("#change [name=why]", "a mistake")
    console.click("#change button")
    holds(console, "document.getElementById('restricted').textContent === 'none'")
    console.select_option("#change [name=action]", "Lockdown")
    console.click("#change button")
    holds(console, "document.getElementById('restricted').textContent.includes('locked down')")
    assert web.Browser(system).fetch(system.propose("GET", "reports/3.txt"))[1].reason == "LOCKDOWN"
    console.select_option("#change [name=action]", "Release")
    console.click("#change button")
    holds(console, "document.getElementById('restricted').textContent === 'none'")


def test_explain(console):
    for name, value in {"bucket": "reports", "object": "reports/1.txt", "subject": "user1", "address": "192.0.2.1"}.items():
        console.fill(f"#ask [name={name}]", value)
    console.click("#ask button")
    holds(console, "document.getElementById('explained').textContent.startsWith('allowed by rule everything')")


@pytest.mark.parametrize("console", [BACKEND], indirect=True)
def test_who_may_not_look_is_told_so(console):
    assert console.text_content("#trouble").startswith("CALLER_NOT_ALLOWED")
    assert console.locator("#rows tr").count() == 0
