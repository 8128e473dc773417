"""A headless Chromium to drive: no package, only the DevTools protocol over two pipes.

    with Browser() as page:
        page.open(file, width=375, dark=True)
        page.press("Tab")
        page.run("document.activeElement.textContent")

Whatever leaves the page is noted in `requests`, and what goes wrong in it in `errors`.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
OPTIONS += ["--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"]
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " ")}
KEYS |= {f"Arrow{side}": (37 + i, "") for i, side in enumerate(("Left", "Up", "Right", "Down"))}
# The browser expects the pipes' ends as numbers 3 and 4, whatever they are here.
AS_3_AND_4 = """\
import fcntl, os, sys
far = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, near in zip(far, (3, 4)):
    os.dup2(end, near)
os.execv(sys.argv[3], sys.argv[3:])"""


def found() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one browser."""

    def __enter__(self):
        self._start()
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            joined = self.ask("Target.attachToTarget", targetId=target, flatten=True)
            self.session = joined["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, self.to), (self.come, theirs_out) = os.pipe(), os.pipe()
        ends, home = (str(theirs_in), str(theirs_out)), f"--user-data-dir={self.folder.name}"
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", AS_3_AND_4, *ends, found(), *OPTIONS, home],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.n, self.rest, self.session = 0, b"", None
        self.requests, self.errors = [], []

    def __exit__(self, *_):
        os.close(self.to)  # it ends when nobody speaks to it any more
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.come)
        self.folder.cleanup()

    def ask(self, method: str, **params) -> dict:
        """Send one command and wait for its answer."""
        self.n += 1
        command = {"id": self.n, "method": method, "params": params}
        command |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(command).encode() + b"\0")
        while (answer := self.read()).get("id") != self.n:
            self.note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def read(self, seconds: float = 60) -> dict:
        """Read one message."""
        while b"\0" not in self.rest:
            if not select.select([self.come], [], [], seconds)[0]:
                raise TimeoutError("the browser says nothing")
            part = os.read(self.come, 1 << 20)
            if not part:
                raise RuntimeError("the browser has gone")
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def note(self, event: dict) -> None:
        """Keep requests and errors."""
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if kind == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", params))
        if kind == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    def open(self, file: Path, width=1200, height=900, dark=False, touch=False, scripts=True):
        """Open a file in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Page.navigate", url=file.resolve().as_uri())
        end = time.monotonic() + 60
        here = "location.protocol + document.readyState"
        while self.run(here) != "file:complete" and time.monotonic() < end:
            time.sleep(0.02)

    def run(self, code: str):
        """Evaluate JavaScript and return its value."""
        answer = self.ask("Runtime.evaluate", expression=code, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key: str, times=1) -> None:
        """Press a key, as a person does."""
        code, text = KEYS[key]
        one = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        for _ in range(times):
            typed = {"text": text} if text else {}
            self.ask("Input.dispatchKeyEvent", type="keyDown", **one, **typed)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **one)

    def move(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click there."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, x: float, y: float) -> None:
        """Tap there with a finger."""
        self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, element: str, x=0.5, y=0.5) -> tuple[float, float]:
        """Scroll an element (JavaScript) into sight; return a point of it, in shares of it."""
        code = "(() => { const e = %s; e.scrollIntoView({block: 'center'}); "
        code += "const r = e.getBoundingClientRect(); "
        code += "return [r.left, r.top, r.width, r.height] })()"
        left, top, width, height = self.run(code % element)
        return left + width * x, top + height * y

    def picture(self, file: Path) -> None:
        """Save what the window shows as PNG, to look at."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))
