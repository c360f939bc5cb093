"""The page in a real browser, on a real `rollback serve`: true while it is live, and visibly not when it is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.browser.browsing import PHONE, Window, issue, revoke, window
from tests.browser.network import swallowing
from tests.e2e.harness import until
from tests.e2e.serving import Serving, datadog
from tests.e2e.worlds import World, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def test_a_feature_goes_off_before_ones_eyes_when_an_alert_comes_in(server: Serving, responder: Window) -> None:
    responder.says("ON")
    began = time.monotonic()
    assert server.send(datadog()).status_code == 202
    responder.says("OFF proven")
    assert time.monotonic() - began < 15
    page = responder.page
    card = page.locator(".card")
    assert card.locator(".severity").inner_text().lower() == "critical"
    assert "flag secure-messaging" in card.locator(".world").inner_text()
    text = card.inner_text()
    for words in ("disabled", "nobody on any server", "datadog 4711", "Mobile app", "What happened", "case opened"):
        assert words in text, words
    until(lambda: "turn off" in page.locator("#below").inner_text(), what="the decision")
    until(lambda: "Non-200 answers above tolerance" in page.locator("#below").inner_text(), what="the delivery")
    assert page.locator("#said").inner_text() == "Secure Messaging is OFF proven."
    assert page.title().startswith("■ OFF proven: Secure Messaging")
    assert page.locator("#glances a").inner_text().endswith("OFF proven")


def test_a_clock_runs_while_nothing_changes(server: Serving, responder: Window) -> None:
    assert server.send(datadog()).status_code == 202
    responder.says("OFF proven")
    clock = responder.page.locator(".glance [data-clock=up]")
    before = clock.inner_text()
    until(lambda: clock.inner_text() != before, what="the next second")


def veiled(page: Page) -> bool:
    return page.locator("#veil").is_visible() and "stale" in (page.locator("body").get_attribute("class") or "")


def test_a_page_whose_server_is_gone_says_so_within_ten_seconds_and_claims_nothing(
    server: Serving, responder: Window
) -> None:
    responder.goes_wrong = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET", "ERR_EMPTY")
    assert server.send(datadog()).status_code == 202
    responder.says("OFF proven")
    page = responder.page
    assert not veiled(page)
    began = time.monotonic()
    server.running.kill()
    until(lambda: veiled(page), timeout=10.0, what="the veil")
    assert time.monotonic() - began < 10
    glance = page.locator(".card .glance strong").inner_text()
    assert glance == "UNKNOWN", "off is no longer claimed"
    assert "it was: OFF proven" in page.locator(".card .glance").inner_text()
    assert "UNKNOWN" in page.locator("#glances a").inner_text()
    assert "NOT LIVE" in page.locator("#veil").inner_text()
    assert "rollback disable" in page.locator("#veil").inner_text()
    assert page.title().startswith("? NOT LIVE")


def test_a_page_behind_a_network_that_swallows_everything_notices_it_too(browser: Browser, server: Serving) -> None:
    """No error tells of it: connections stay open, and nothing comes."""
    with swallowing(server.url) as network, window(browser, network.url) as opened:
        opened.sign_in(issue(server.cli, "viewer"))
        opened.says("ON")
        network.swallows.set()
        assert server.send(datadog()).status_code == 202
        until(lambda: veiled(opened.page), timeout=10.0, what="the veil")
        assert opened.page.locator(".card .glance strong").inner_text() == "UNKNOWN"
        network.swallows.clear()
        until(lambda: not veiled(opened.page), what="its end")
        opened.says("OFF proven")
        opened.expect_well()


def test_without_a_stream_the_page_asks_and_stays_live(browser: Browser, server: Serving) -> None:
    with window(browser, server.url) as opened:
        opened.goes_wrong = ("ERR_FAILED",)
        opened.page.route("**/page/events", lambda route: route.abort())
        opened.sign_in(issue(server.cli, "viewer"))
        opened.says("ON")
        assert server.send(datadog()).status_code == 202
        opened.says("OFF proven")
        assert not veiled(opened.page)
        opened.expect_well()


def test_a_feature_that_cannot_be_read_is_unknown_while_the_page_itself_is_live(
    world: World, responder: Window
) -> None:
    responder.says("ON")
    world.flipt.stop()
    responder.says("UNKNOWN")
    assert not veiled(responder.page)
    alarms = responder.page.locator(".card .alarms").inner_text()
    assert world.cli.flipt_url is not None
    assert world.cli.flipt_url in alarms


def test_a_revoked_token_shuts_the_open_page(browser: Browser, server: Serving) -> None:
    with window(browser, server.url) as opened:
        opened.goes_wrong = ("401",)
        opened.sign_in(issue(server.cli, "viewer", "leaves"))
        opened.says("ON")
        revoke(server.cli, "leaves")
        opened.page.get_by_label("Token").wait_for()
        assert "Secure Messaging" not in opened.page.content()
        opened.expect_well()


def test_a_wrong_token_is_told_and_the_next_one_opens(browser: Browser, server: Serving) -> None:
    with window(browser, server.url) as opened:
        opened.goes_wrong = ("401",)
        opened.page.goto(server.url)
        opened.page.get_by_label("Token").fill("rb_" + "x" * 43)
        opened.page.get_by_role("button", name="Sign in").click()
        assert "not known" in opened.page.get_by_role("alert").inner_text()
        opened.sign_in(issue(server.cli, "viewer"))
        opened.page.get_by_role("button", name="Sign out").click()
        opened.page.get_by_label("Token").wait_for()
        opened.expect_well()


def test_who_comes_by_a_link_from_elsewhere_is_still_signed_in(responder: Window) -> None:
    page = responder.page
    responder.says("ON")
    elsewhere = responder.url.replace("127.0.0.1", "localhost")
    page.goto(elsewhere)
    page.evaluate("url => { location.href = url; }", responder.url)
    page.locator(".card").first.wait_for()
    assert page.url == f"{responder.url}/"
    assert all(url.startswith(elsewhere) for url in responder.elsewhere)
    responder.elsewhere.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen_and_all_can_be_read(
    browser: Browser, server: Serving, scheme: str
) -> None:
    with window(browser, server.url, PHONE, color_scheme=scheme, has_touch=True) as opened:
        opened.sign_in(issue(server.cli, "responder"))
        assert server.send(datadog()).status_code == 202
        opened.says("OFF proven")
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for button in page.locator(".card button").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44
        assert page.evaluate(CONTRASTS) == []
        opened.expect_well()
    assert served(str(server.cli.flipt_url)) == 0


CONTRASTS = """() => {
  const light = (rgb) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = (text) => {
    const m = text.match(/[\\d.]+/g).map(Number);
    return { rgb: m.slice(0, 3), a: m[3] ?? 1 };
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const found = parse(getComputedStyle(one).backgroundColor);
      if (found.a === 1) return found.rgb;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
    if (!own || node.closest(".unseen, .skip, dialog, [hidden], noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color).rgb), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.className} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
"""Texts whose contrast is below what WCAG 2.2, 1.4.3 asks for."""
