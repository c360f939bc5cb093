"""`python -m tests.browser.pictures FOLDER`: draws the page of a busy night, on a desktop and on a phone.

The pictures in docs/operations are made by it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollback.sandbox import FliptServer, SmApi
from tests.browser.browsing import PHONE, Window, chromium, issue, window
from tests.e2e.harness import Cli
from tests.e2e.serving import Serving, datadog, serving, with_alerts
from tests.e2e.worlds import NAMESPACE, USUAL, VETERANS, write_policies

OTHERS = (("appointments", "Appointments"), ("prescriptions", "Prescription refills"), ("records", "Health records"))

WIDE = {"width": 1180, "height": 700}
"""Each picture stays below 150 KB."""


@contextmanager
def busy_night(folder: Path) -> Iterator[Serving]:
    """Four features: one that alerts turned off, one that is reduced, one that is well, one whose flag is gone."""
    policies = write_policies(folder / "policies")
    with_alerts(policies)
    first = (policies / "features" / "secure-messaging.yaml").read_text()
    for key, name in OTHERS:
        text = (
            first.partition("\nalerts:")[0]
            .replace("aliases: [sm]\n", "")
            .replace("name: Secure Messaging", f"name: {name}", 1)
        )
        (policies / "features" / f"{key}.yaml").write_text(text.replace("secure-messaging", key))
    flags = [{"key": key, "name": name, "type": "BOOLEAN_FLAG_TYPE", "enabled": True} for key, name in OTHERS[:2]]
    seed = {"namespaces": {NAMESPACE: {"flags": [dict(USUAL), *flags], "segments": [VETERANS]}}}
    with FliptServer("v2", seed=seed) as flipt, SmApi(error_rate=1.0) as application:
        cli = Cli(folder / "first", flipt.url, policies, {"SM_API_URL": application.url})
        cli.run("open", "appointments", "--severity", "high", "--reason", "calendar shows the wrong day").expect(0)
        with serving(cli) as server:
            yield server


def draw(folder: Path) -> None:
    """Both pictures."""
    with tempfile.TemporaryDirectory() as place, busy_night(Path(place)) as server, chromium() as browser:
        secret = issue(server.cli, "approver", "on-call")
        with window(browser, server.url, WIDE) as desktop:
            desktop.sign_in(secret)
            assert server.send(datadog()).status_code == 202
            desktop.says("OFF proven")
            _settled(desktop)
            desktop.page.screenshot(path=folder / "page-desktop.png")
        with window(browser, server.url, PHONE, color_scheme="dark", has_touch=True) as phone:
            phone.sign_in(secret)
            phone.says("OFF proven")
            _settled(phone)
            phone.page.screenshot(path=folder / "page-phone.png")


def _settled(opened: Window) -> None:
    """Every feature was looked at."""
    opened.page.wait_for_function("[...document.querySelectorAll('.card')].every((card) => !card.matches('.old'))")
    opened.page.get_by_text("All parts are well").wait_for()
    opened.page.locator("[data-key=deliveries] li").first.wait_for()
    opened.page.get_by_text("disabled", exact=True).first.wait_for()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
