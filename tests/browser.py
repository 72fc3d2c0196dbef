"""A real headless Chromium for tests, driven over its debugging pipe: no driver, no websocket.

The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)


class Browser:
    """A running Chromium, spoken to over its pipe from one thread."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._received = b""
        self._calls = 0
        self._pages: dict[str | None, Page] = {}

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A tab with cookies and a cache of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        where = {"url": "about:blank", "browserContextId": context}
        target = self.call("Target.createTarget", **where)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        try:
            for domain in ("Page", "Runtime", "Log"):
                page.call(f"{domain}.enable")
            yield page
        finally:
            del self._pages[session]
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def call(
        self, method: str, session: str | None = None, timeout_s: float = 60.0, **params: Any
    ) -> dict[str, Any]:
        """One command of the protocol. Raises RuntimeError with the browser's own words."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        deadline_s = time.monotonic() + timeout_s
        while True:
            answer = self._receive(deadline_s)
            if answer.get("id") != self._calls:
                if page := self._pages.get(answer.get("sessionId")):
                    page.note(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            else:
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, deadline_s: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            left_s = max(0.0, deadline_s - time.monotonic())
            if not select.select([self._from_browser], [], [], left_s)[0]:
                raise TimeoutError("Chromium did not answer in time")
            if not (chunk := os.read(self._from_browser, 1 << 20)):
                raise RuntimeError("Chromium ended")
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


class Page:
    """One tab. What the page logs as an error or a warning, or throws, is in `errors`."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.errors: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def open(self, url: str) -> None:
        """Go there, without waiting: pictures that never end never finish loading."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = 60.0) -> None:
        """Wait until `expression` is true in the page; while it throws, it is not."""
        deadline_s = time.monotonic() + timeout_s
        why = "stayed false"
        while True:
            try:
                if self.evaluate(expression):
                    return
            except RuntimeError as error:
                why = str(error)
            if time.monotonic() > deadline_s:
                text = self.evaluate("document.body.innerText")
                raise AssertionError(f"{expression}: {why}; the page says:\n{text}")
            time.sleep(0.05)

    def resize(self, width_px: int, height_px: int, scheme: str = "dark") -> None:
        """Size of the window in CSS pixels, and the colour scheme that the user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width_px,
            height=height_px,
            deviceScaleFactor=1,
            mobile=width_px < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def note(self, event: dict[str, Any]) -> None:
        """An event of the protocol that belongs to this tab."""
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(str(params["entry"]))


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Chromium with an empty profile in `profile`, ended with the block."""
    assert CHROMIUM is not None
    command_in, command_out = os.pipe()
    answer_in, answer_out = os.pipe()
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--no-proxy-server",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    ]
    # Chromium reads commands from descriptor 3 and answers on 4.
    shell = f'exec "$0" "$@" 3<&{command_in} 4>&{answer_out}'
    process = subprocess.Popen(
        ["bash", "-c", shell, CHROMIUM, *flags],
        pass_fds=(command_in, answer_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(command_in)
    os.close(answer_out)
    try:
        yield Browser(command_out, answer_in)
    finally:
        os.close(command_out)
        os.close(answer_in)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
