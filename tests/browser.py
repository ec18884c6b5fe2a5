"""A headless browser for tests of pages: it speaks the DevTools protocol over a pipe, so that no package and no port is needed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
SECONDS = 30


def installed() -> Optional[str]:
    """The path of a browser, ``None`` if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)


class Page:
    """A page that a browser has open.

    Args:
        browser: the browser's path.
        path: the page, a file.
        profile: a folder for the browser's own files.

    Attributes:
        problems: exceptions of scripts, and what the browser logs as an error.
        requested: the addresses of everything that the page asked for, itself included; data URIs are left out.
    """

    def __init__(self, browser: str, path: Path, profile: Path) -> None:
        (ours, theirs), (in_end, self._out) = os.pipe(), os.pipe()
        self._in = os.fdopen(ours, "rb", buffering=0)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run", f"--user-data-dir={profile}"]

        def numbered() -> None:  # the browser reads from descriptor 3 and writes to 4
            reading, writing = os.dup(in_end), os.dup(theirs)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self._process = subprocess.Popen(
            [browser, *flags, "--remote-debugging-pipe", "--window-size=1200,1200", "about:blank"],
            preexec_fn=numbered,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(in_end)
        os.close(theirs)
        self._numbers = itertools.count(1)
        self._session: Optional[str] = None
        self._buffer = b""
        self.problems: List[str] = []
        self.requested: List[str] = []
        target = next(each for each in self._call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=path.resolve().as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def _call(self, method: str, **parameters: Any) -> Dict[str, Any]:
        number = next(self._numbers)
        message: Dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._message()
            if found.get("id") == number:
                assert "error" not in found, found["error"]
                result: Dict[str, Any] = found["result"]
                return result

    def _message(self) -> Dict[str, Any]:
        while b"\0" not in self._buffer:
            read = self._in.read(1 << 16)
            assert read, "the browser has ended"
            self._buffer += read
        first, _, self._buffer = self._buffer.partition(b"\0")
        found: Dict[str, Any] = json.loads(first)
        parameters = found.get("params", {})
        if found.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        if found.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        if found.get("method") == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("data:"):
            self.requested.append(parameters["request"]["url"])
        return found

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"not so after {SECONDS} s: {script}"
            time.sleep(0.02)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key by its name, such as ``ArrowLeft``."""
        codes = {" ": 32, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9}
        for kind in ("rawKeyDown", "keyUp"):
            code, modifiers = codes[key], 8 if shift else 0
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(SECONDS)
        self._in.close()
        os.close(self._out)
