"""Acting in a real browser: two clicks turn off, whatever else is broken; and text from outside stays text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.browsing import Window, issue, window
from tests.e2e.harness import until
from tests.e2e.serving import Serving, datadog
from tests.e2e.worlds import World, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.browser


def button(opened: Window, name: str) -> Locator:
    return opened.page.locator(".card").get_by_role("button", name=re.compile(f"^{name}:"))


def test_two_clicks_turn_a_feature_off_and_the_command_says_so_itself(world: World, responder: Window) -> None:
    responder.says("ON")
    button(responder, "Disable").click()
    dialog = responder.page.get_by_role("dialog")
    asked = dialog.inner_text()
    assert "Secure Messaging (secure-messaging)" in asked
    assert "default/mhv/secure-messaging" in asked
    assert f"flipt v2 {world.cli.flipt_url}" in asked
    assert served(world.flipt.url) > 0, "asking alone does nothing"

    dialog.get_by_role("button", name="Turn off now").click()
    dialog.get_by_text("Done.", exact=True).wait_for()
    assert served(world.flipt.url) == 0
    lines = dialog.get_by_role("log").inner_text()
    assert "OFF" in lines
    assert "Secure Messaging" in lines
    assert responder.page.evaluate("document.activeElement.textContent") == "Close"
    dialog.get_by_role("button", name="Close").click()
    responder.says("OFF proven")
    opened = next(row for row in world.cli.history() if row["name"] == "case_opened")
    assert opened["actor"] == "a-responder"


def test_a_question_that_is_left_does_nothing(world: World, responder: Window) -> None:
    responder.says("ON")
    before = (world.flag, world.writes, len(world.cli.history()))
    for name in ("Disable", "Hold automation", "Note"):
        button(responder, name).click()
        responder.page.get_by_role("dialog").wait_for()
        responder.page.keyboard.press("Escape")
        button(responder, name).click()
        responder.page.get_by_role("button", name="Cancel").click()
        assert responder.page.get_by_role("dialog").count() == 0
    assert (world.flag, world.writes, len(world.cli.history())) == before


def test_by_the_keyboard_alone_it_goes_off(world: World, responder: Window) -> None:
    responder.says("ON")
    page = responder.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the features"
    for _ in range(20):
        if page.evaluate("document.activeElement.dataset.action") == "Disable":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_text("Done.", exact=True).wait_for()
    assert served(world.flipt.url) == 0


@pytest.mark.parametrize("broken", ["**/page/events", "**/page/{events,state}"], ids=["stream", "stream and polls"])
def test_with_the_live_view_broken_two_clicks_still_turn_off(
    world: World, browser: Browser, server: Serving, broken: str
) -> None:
    with window(browser, server.url) as opened:
        opened.goes_wrong = ("ERR_FAILED",)
        opened.sign_in(issue(server.cli, "responder"))
        opened.says("ON")
        opened.page.route(broken, lambda route: route.abort())
        opened.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        if "state" in broken:
            opened.page.locator("#veil").wait_for()
        button(opened, "Disable").click()
        opened.page.get_by_role("button", name="Turn off now").click()
        opened.page.get_by_role("dialog").get_by_text("Done.", exact=True).wait_for()
        assert served(world.flipt.url) == 0
        opened.expect_well()


def test_a_server_that_is_gone_gives_the_way_without_it(server: Serving, responder: Window) -> None:
    responder.goes_wrong = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET", "ERR_EMPTY")
    responder.says("ON")
    server.running.kill()
    button(responder, "Disable").click()
    responder.page.get_by_role("button", name="Turn off now").click()
    lines = responder.page.get_by_role("log")
    until(lambda: "rollback disable secure-messaging" in lines.inner_text(), what="the way by hand")
    assert "may be done or not" in lines.inner_text()
    assert "Done." not in lines.inner_text()


def test_a_hold_needs_a_reason_and_shows_until_when(responder: Window) -> None:
    responder.says("ON")
    button(responder, "Hold automation").click()
    dialog = responder.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Hold", exact=True).click()
    assert dialog.get_by_role("log").count() == 0, "the browser asks for the reason first"
    dialog.get_by_role("textbox").fill("load test")
    dialog.get_by_role("button", name="Hold", exact=True).click()
    dialog.get_by_text("Done.", exact=True).wait_for()
    dialog.get_by_role("button", name="Close").click()
    responder.page.locator(".alarms", has_text="Automation is held back").wait_for()
    button(responder, "End the hold").click()
    dialog.get_by_role("textbox").fill("over")
    dialog.get_by_role("button", name="End the hold").click()
    dialog.get_by_text("Done.", exact=True).wait_for()
    dialog.get_by_role("button", name="Close").click()
    button(responder, "Hold automation").wait_for()


def test_a_viewer_has_nothing_to_press(browser: Browser, server: Serving) -> None:
    with window(browser, server.url) as opened:
        opened.sign_in(issue(server.cli, "viewer"))
        opened.says("ON")
        assert opened.page.locator(".card button").count() == 0
        assert "to look, not to act" in opened.page.locator(".card").inner_text()
        opened.expect_well()


ATTACK = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>'\"]}{{csrf}}"


def test_what_others_wrote_stays_text_wherever_it_shows(server: Serving, responder: Window) -> None:
    page = responder.page
    assert server.send(datadog(**{"$EVENT_TITLE": ATTACK, "$ALERT_PRIORITY": "<b>P1</b>"})).status_code == 202
    responder.says("OFF proven")
    button(responder, "Note").click()
    page.get_by_role("textbox").fill(ATTACK)
    page.get_by_role("button", name="Keep the note").click()
    page.get_by_role("dialog").get_by_text("Done.", exact=True).wait_for()
    page.get_by_role("button", name="Close").click()
    button(responder, "Disable again").click()
    page.get_by_role("textbox").fill(ATTACK)
    page.get_by_role("button", name="Turn off now").click()
    page.get_by_role("dialog").get_by_text("Done.", exact=True).wait_for()
    page.get_by_role("button", name="Close").click()
    until(lambda: page.locator(".timeline").inner_text().count("<img src=x") >= 2, what="the record with it")
    until(lambda: "<img src=x" in page.locator("#below").inner_text(), what="the delivery with it")
    assert page.locator("main img").count() == 0
    assert page.locator("script").count() == 1
    assert "hacked" not in page.title()


def test_markup_cannot_be_made_even_by_a_mistake_of_ours(responder: Window) -> None:
    """What the policy of the page forbids, the browser refuses: the second wall behind the first."""
    responder.goes_wrong = ("Content Security Policy", "TrustedHTML", "inline")
    refused = responder.page.evaluate(
        """() => {
          try { document.body.innerHTML = "<b>x</b>"; return "let through"; } catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    responder.page.evaluate(
        """() => {
          const style = document.createElement("p");
          style.setAttribute("style", "position:fixed");
          document.body.append(style);
          window.placed = getComputedStyle(style).position;
        }"""
    )
    assert responder.page.evaluate("window.placed") == "static"
    fetched = "fetch('http://localhost:9/x').then(() => 'sent', () => 'refused')"
    assert responder.page.evaluate(fetched) == "refused"
    assert responder.elsewhere == []
