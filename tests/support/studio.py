"""The Studio page as a person sees and uses it, in words: `studio.press("Start")`,
`studio.sentence`.

What is on screen is read from the screen; `snapshot` asks the server for the numbers behind it.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Locator, Page, Request

SOON = 30.0
"""Seconds for what the page does by itself, on a busy machine."""
LATER = 120.0
"""Seconds for what the engine has to compute."""
UNREPORTED = 15.0
"""Seconds after which a Gradio event counts as ended: occasionally, Playwright never reports the
end of its stream.
"""
SIZE = (1440, 900)
PHONE = (390, 844)
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
T = TypeVar("T")

# The gray values of the newest group's sheet, decoded as the browser shows it; null while there is
# none.
SHEET = """async () => {
  const group = [...document.querySelectorAll('.gallery .image-group')].at(-1);
  const url = group && /url\\("(.*)"\\)/.exec(group.style.getPropertyValue('--sheet'))?.[1];
  if (!url) return null;
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement('canvas'), ink = canvas.getContext('2d');
  Object.assign(canvas, { width: image.width, height: image.height });
  ink.drawImage(image, 0, 0);
  return [...ink.getImageData(0, 0, image.width, image.height).data].filter((v, i) => i % 4 === 0);
}"""

# Every mark of the scatter plot: its trace's name, its place on screen, and the image that it
# represents.
MARKS = """() => {
  const host = document.querySelector('.scatter'), { cloud } = host, marks = [];
  const box = host.getBoundingClientRect();
  if (!cloud?.screenPoints) return marks;
  const add = (name, x, y, more) => marks.push({ name, x: box.x + x, y: box.y + y, ...more });
  const { keys, c, x, y, z } = cloud.points;
  keys.forEach((key, i) => {
    const [it, pos] = key.split(':').map(Number);
    const { x: px, y: py } = cloud.screenPoints;
    add('synthetic', px[i], py[i], { it, pos, c: c[i], place: [x[i], y[i], z[i]] });
  });
  for (const [x, y] of cloud.screenReal) add('real', x, y);
  if (cloud.mark) {
    const [x, y] = cloud.projection()(cloud.mark.x, cloud.mark.y, cloud.mark.z);
    add('chosen', x, y);
  }
  return marks;
}"""


class Studio:
    """One viewer's page, in its own browser context, and a record of what it logged and
    requested.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        size: tuple[int, int] = SIZE,
        query: str = "",
        **context: Any,
    ):
        self.address = address
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, **context
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.abroad: list[str] = []
        self.polls = self.snapshots = 0
        self.queued: dict[Request, float] = {}
        """Requests of Gradio's own events whose end was not reported, and when each began."""
        self.page.on(
            "console", lambda said: said.type == "error" and self.complaints.append(said.text)
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on(
            "request",
            lambda request: (
                "/gradio_api/queue/" in request.url
                and self.queued.setdefault(request, time.monotonic())
            ),
        )
        self.page.on("requestfinished", lambda request: self.queued.pop(request, None))
        self.page.on("requestfailed", lambda request: self.queued.pop(request, None))
        self.page.on(
            "domcontentloaded", lambda: self.queued.clear()
        )  # leaving a page cancels its requests, often silently
        self.page.on("websocket", lambda socket: self._asked(socket.url))
        self.page.on("response", lambda response: self._answered(response.url, response.status))
        self.page.set_default_timeout(1000 * SOON)
        self.page.goto(address + query)
        self.wait_drawn()

    # --- the record -------------------------------------------------------------------------------

    def _asked(self, url: str) -> None:
        where = urlsplit(url)
        if where.scheme not in ("data", "blob") and where.hostname != "127.0.0.1":
            self.abroad.append(url)

    def _answered(self, url: str, status: int) -> None:
        if urlsplit(url).path == "/kg/live":
            self.polls += 1
            self.snapshots += status == 200

    def check(self) -> None:
        """No error on the console, no request to another host."""
        complaints, self.complaints = self.complaints, []
        abroad, self.abroad = self.abroad, []
        assert not complaints, complaints
        assert not abroad, abroad

    def close(self) -> None:
        self.context.close()

    # --- waiting ----------------------------------------------------------------------------------

    def until(self, what: str, look: Callable[[], T], seconds: float = SOON) -> T:
        """The first true result of `look`; the page keeps running meanwhile."""
        left = int(seconds / 0.1)
        while not (found := look()):
            left -= 1
            assert left > 0, (
                f"not within {seconds:.0f} seconds: {what}; the page says: {self.sentence!r}"
            )
            self.page.wait_for_timeout(100)
        return found

    def wait_drawn(self) -> None:
        self.page.wait_for_function(
            "() => document.body.dataset.kg && document.querySelector('.status-line').textContent"
        )

    def wait_phase(self, *phases: str, seconds: float = LATER) -> None:
        self.until(f"the phase {' or '.join(phases)}", lambda: self.phase in phases, seconds)

    def wait_polls(self, n: int) -> None:
        """Wait until the page has polled n more times."""
        goal = self.polls + n
        self.until(f"{n} polls", lambda: self.polls >= goal)

    @property
    def under_way(self) -> list[str]:
        """Gradio's own events that have not ended."""
        now = time.monotonic()
        return [request.url for request, began in self.queued.items() if now - began < UNREPORTED]

    def wait_settled(self) -> None:
        """Wait until no Gradio event is in progress or about to begin: a page that is left earlier
        complains about its lost connection.
        """
        quiet = 0
        while quiet < 3:
            self.until("Gradio's events have ended", lambda: not self.under_way, LATER)
            self.wait_polls(1)
            quiet = 0 if self.under_way else quiet + 1

    def wait_snapshots(self, n: int) -> None:
        """Wait until the page has drawn n newer states."""
        goal = self.snapshots + n
        self.until(f"{n} new snapshots", lambda: self.snapshots >= goal, LATER)

    # --- what is on screen ------------------------------------------------------------------------

    def see(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def text(self, selector: str) -> str:
        return self.see(selector).first.inner_text().replace("\n", " ")

    @property
    def phase(self) -> str:
        return self.page.evaluate("document.body.dataset.kg")

    @property
    def sentence(self) -> str:
        return self.text(".status-line")

    @property
    def selected(self) -> tuple[int, int] | None:
        """(iteration, position) from the address, but counted from 0, as everywhere else."""
        at = self.query.get("sel")
        return None if at is None else tuple(int(n) - 1 for n in at.split(":"))

    @property
    def query(self) -> dict[str, str]:
        """The address's own part: selection, speed, theme."""
        return {
            name: values[-1] for name, values in parse_qs(urlsplit(self.page.url).query).items()
        }

    def sheet(self) -> list[int] | None:
        """Gray values of the newest group of images on screen."""
        return self.page.evaluate(SHEET)

    def cells(self, title: str) -> list[str]:
        """The numbers of a map of the key region: CAM, Target or Missing."""
        return (
            self.page.locator(".key-figures figure", has=self.page.get_by_text(title, exact=True))
            .locator(".map i")
            .all_inner_texts()
        )

    def accuracy(self) -> float:
        """Percentage of real images that the student classifies correctly, from the curve's label;
        0 before the first test.
        """
        found = re.search(r"student ([\d.]+)", self.see(".curves").inner_text())
        return float(found[1]) if found else 0.0

    def points(self, name: str) -> list[dict[str, Any]]:
        """The marks that the scatter plot draws: real, synthetic or chosen."""
        return [mark for mark in self.page.evaluate(MARKS) if mark["name"] == name]

    def lonely_point(self) -> dict[str, Any] | None:
        """Of the synthetic points whose image is in the gallery, the one farthest from any other
        mark.
        """
        real, synthetic = self.points("real"), self.points("synthetic")
        shown = self.page.evaluate(
            "() => [...document.querySelectorAll('.tile:not(:disabled)')].map((t) => [+/iteration"
            " ([0-9]+)/.exec(t.ariaLabel)[1] - 1, t.tile.pos])"
        )

        def room(point: dict[str, Any]) -> float:
            return min(
                math.dist((point["x"], point["y"]), (other["x"], other["y"]))
                for other in real + synthetic
                if other is not point
            )

        return max(
            (point for point in synthetic if [point["it"], point["pos"]] in shown),
            key=room,
            default=None,
        )

    def ranges(self) -> dict[str, float]:
        """Which part of the cloud the scatter plot shows, and from where."""
        return self.page.evaluate("() => ({ ...document.querySelector('.scatter').cloud.view })")

    def width(self) -> int:
        """The page's width in pixels; if it exceeds the window's, people must scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth")

    def toast(self) -> str:
        """The sentence that pops up when something was refused."""
        said = self.see("[data-testid=toast-text]").first
        said.wait_for()
        return said.inner_text()

    # --- what a person does -----------------------------------------------------------------------

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def choose(self, group: str, name: str) -> None:
        """Click one option of a group in the sidebar."""
        self.see(f"#kg-{group} label").filter(
            has_text=re.compile(rf"^\s*{re.escape(name)}")
        ).click()

    def step(self, unit: str) -> None:
        """Take one step of that unit, and wait until its counters have settled."""
        self.choose("unit", unit)
        before = self.snapshot()["counters"]
        self.press("Step")
        self.until("a step is counted", lambda: self.snapshot()["counters"] != before, LATER)
        self.wait_polls(4)

    def chosen(self, group: str) -> list[str]:
        """The selected options of a group in the sidebar; the first line of each."""
        return [
            text.split("\n")[0].strip()
            for text in self.see(f"#kg-{group} label:has(:checked)").all_inner_texts()
        ]

    def choose_two_classes(self) -> None:
        self.see("#kg-setup [data-none]").click()
        self.choose("classes", "Trouser")
        self.choose("classes", "Bag")

    def choose_little(self) -> None:
        """A quick run: two classes, small images."""
        self.choose_two_classes()
        self.choose("side", "16")
        self.choose("side", "28")

    # --- the numbers behind it --------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        response = self.context.request.get(f"{self.address}kg/live")
        assert response.ok, response.status
        return response.json()

    @property
    def counters(self) -> tuple[int, int, int]:
        """Generator steps, iterations and student steps done."""
        counters = self.snapshot()["counters"]
        return counters["generator_step"], counters["iterations_done"], counters["student_step"]
