"""The pages in a real browser: what is seen, what is refused, what changes while a run writes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groupwise.view.export import write_page

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parent / "axe" / "axe.min.js"
SECONDS = 600_000  # milliseconds that anything may take on a busy machine

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="no browser here: /usr/bin/chromium of Debian's chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no browser here: pip install playwright")
playwright.expect.set_options(timeout=SECONDS)
pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as drivers:
        opened = drivers.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@contextlib.contextmanager
def viewer(*directories):
    """Serves them as a user would; the address."""
    words = [sys.executable, "-m", "groupwise.cli", "view", *map(str, directories)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=600)
        process.stdout.close()


class Page:
    """A page, and what went wrong in it."""

    def __init__(self, browser, address, **options):
        self.origin = address.partition("/?")[0]
        self.wrong: list[str] = []
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error {error}"))
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(f"console {said.text}"))
        self.page.on("request", self._requested)
        self.page.goto(address)
        self.page.locator("main h1").wait_for()

    def _requested(self, request):
        if not request.url.startswith(self.origin):
            self.wrong.append(f"foreign {request.url}")

    def show(self, place, ready):
        self.page.goto(f"{self.origin}/#/{place}")
        self.page.locator(f".page.{place.partition('?')[0]} {ready}").first.wait_for()

    def text(self):
        return self.page.locator("main").inner_text()

    def close(self):
        self.context.close()


PAGES = {
    "overview": ".chart canvas",
    "rollouts": "tbody tr",
    "group?stage=grpo&step=1&group=1": ".token",
    "prompt?stage=grpo&example=train:0": ".says",
    "what-if?stage=grpo&step=2&method=dr_grpo": ".pair",
    "evaluation": ".grid-of-problems",
    "compare": "table",
}


@pytest.fixture
def hostile(make_run, hand):
    """A run whose model writes what would harm a page that took it for markup."""
    directory = make_run("hostile")
    hand.write_evaluation(directory)
    long = "A" * 2_000_000
    texts = [
        "</script><script>window.hacked = 1</script>",
        '"><img src=x onerror="window.hacked = 1">',
        "\x00\x1b[31mred\u202eturned\u2066\ufeff\x7f",
        long,
    ]
    rows = [hand.row(4, 0, 1.0 - number, [6, 7, 8, 0], text=text) for number, text in enumerate(texts)]
    rows[0] |= {
        "prompt": "<b>bold</b>\u202e",
        "answer": "</textarea>",
        "extras": json.dumps({"answer": {"said": texts[0]}}),
    }
    hand.write_step(directory, rows)
    hand.write_metrics(directory, 4)
    alarm = {"stage": "grpo", "step": 2, "alarm": "<i>alarm</i>", "sentence": "<script>window.hacked = 1</script>"}
    (directory / "alarms.jsonl").write_text(json.dumps(alarm) + "\n")
    return directory


def test_every_page_in_both_schemes_is_accessible_and_harmless(browser, hostile, make_run):
    axe = AXE.read_text(encoding="utf-8")
    with viewer(hostile, make_run("other")) as address:
        for scheme, width in (("light", 1280), ("dark", 375)):
            seen = Page(
                browser, address, color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True
            )
            for place, ready in PAGES.items():
                seen.show(place, ready)
                seen.page.evaluate(axe)
                found = seen.page.evaluate("axe.run()")["violations"]
                assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], (place, scheme)
                assert seen.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (place, width)
                assert not seen.page.evaluate("window.hacked"), place
            assert seen.wrong == []
            seen.close()


def test_hostile_rollouts_are_text(browser, hostile):
    with viewer(hostile) as address:
        seen = Page(browser, address)
        assert "<script>window.hacked" in seen.text()  # the alarm's sentence
        seen.show("rollouts?order=high:reward&first=4", "tbody tr")
        assert "</script><script>window.hacked = 1</script>" in seen.text()
        assert "U+202E" in seen.text()
        assert "NUL␛[31mred" in seen.text()
        assert len(seen.text()) < 20_000  # not the two million letters
        seen.page.locator("tbody tr a.open").first.click()
        seen.page.locator(".page.group .token").first.wait_for()
        assert "<script>window.hacked = 1</script>" in seen.text()  # one token
        assert {"NUL", "U+202E"} <= set(seen.page.locator(".token .hidden-letter").all_inner_texts())
        assert "</textarea>" in seen.text()
        assert not seen.page.evaluate("window.hacked === 1")
        assert seen.page.locator("main script, main img, main b b, main i i").count() == 0
        assert seen.wrong == []
        seen.close()


def test_all_by_keyboard(browser, make_run):
    with viewer(make_run()) as address:
        seen = Page(browser, address)
        keyboard = seen.page.keyboard
        keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.className") == "skip"
        canvas = seen.page.locator(".chart .canvas").first
        canvas.focus()
        keyboard.press("ArrowRight")
        playwright.expect(seen.page.locator(".chart .place").first).to_have_text("steps 1")
        keyboard.press("End")
        playwright.expect(seen.page.locator(".chart .place").first).to_have_text("steps 3")
        seen.page.locator(".chart summary").first.focus()
        keyboard.press("Enter")
        assert "0.3" in seen.page.locator(".chart table").first.inner_text()
        seen.show("rollouts", "tbody tr")
        seen.page.locator("a.open").first.focus()
        keyboard.press("Enter")
        seen.page.locator(".page.group .token").first.wait_for()
        seen.page.locator(".tokens").first.focus()
        keyboard.press("ArrowRight")
        keyboard.press("ArrowRight")
        playwright.expect(seen.page.locator(".readout")).to_contain_text("token 1")
        seen.page.get_by_role("button", name="KL").focus()
        keyboard.press("Enter")
        assert "paint=kl" in seen.page.url
        assert seen.wrong == []
        seen.close()


def test_a_run_without_rollouts_says_why(browser, make_run):
    """As one that learns from demonstrations, whose list would else be empty without a word."""
    with viewer(make_run("hand", 0)) as address:
        seen = Page(browser, address)
        for place in ("rollouts", "prompt", "what-if"):
            seen.page.evaluate("place => { location.hash = place }", f"#/{place}")
            playwright.expect(seen.page.locator("main")).to_contain_text("learn from data alone")
        seen.page.evaluate("place => { location.hash = place }", "#/rollouts")
        seen.page.wait_for_load_state("networkidle")
        playwright.expect(seen.page.locator(".count")).to_contain_text("draw no rollouts")
        assert seen.wrong == []
        seen.close()


def test_filters_are_in_the_address(browser, make_run):
    with viewer(make_run()) as address:
        seen = Page(browser, address)
        seen.show("rollouts", "tbody tr")
        seen.page.get_by_label("Reward from").fill("1")
        playwright.expect(seen.page.locator(".count")).to_contain_text("3 rollouts, mean reward 1")
        seen.page.get_by_label("Text holds").fill("nobody says this")
        playwright.expect(seen.page.locator(".count")).to_contain_text("0 rollouts")
        again = Page(browser, address)
        again.page.goto(seen.page.url.replace("nobody+says+this", "%23%23%23%23"))
        playwright.expect(again.page.locator(".count")).to_contain_text("3 rollouts")
        seen.close()
        again.close()


def test_a_page_follows_a_run_that_writes_goes_back_and_starts_over(browser, make_run, hand):
    directory = make_run()
    hand.write_record(directory)
    with viewer(directory) as address:
        seen = Page(browser, address)
        status, reward = seen.page.locator(".run-card .status"), seen.page.locator(".chart .legend b").first
        playwright.expect(status).to_have_text("stopped before its end")
        playwright.expect(reward).to_have_text("0.3")
        begun = time.monotonic()
        hand.write_metrics(directory, 4, reward=0.875)
        playwright.expect(reward).to_have_text("0.875")
        picture = seen.page.locator(".chart .canvas").first
        playwright.expect(picture).to_have_attribute("aria-label", re.compile(r"Last values: [^;]*0\.875"))
        assert time.monotonic() - begun < SECONDS / 1000
        lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
        (directory / "metrics.jsonl").write_text("".join(lines[:2]))  # back to the checkpoint of step 2
        hand.write_record(directory, resumed=[{"time": 1_000_000, "stage": "grpo", "step": 2}])
        playwright.expect(reward).to_have_text("0.2")
        playwright.expect(seen.page.locator(".history")).to_contain_text("continued at step 2 of grpo")
        (directory / "metrics.jsonl").write_text("")
        hand.write_record(directory, started=2_000_000.0)
        hand.write_metrics(directory, 1, reward=0.625)
        playwright.expect(reward).to_have_text("0.625")
        playwright.expect(seen.page.locator("#pulse")).to_contain_text(re.compile("started over|^$"))
        seen.show("rollouts", "tbody tr")
        hand.write_step(directory, [hand.row(9, 0, 0.5, [1, 2, 0])])
        playwright.expect(seen.page.locator(".count")).to_contain_text("13 rollouts")
        assert seen.wrong == []
        seen.close()


def test_what_is_written_while_a_page_is_being_read_is_told(browser, make_run, hand):
    directory = make_run()
    hand.write_record(directory)
    to_write = {4: 0.875}  # step to reward

    def answer_late(route):
        """The page gets an answer that is old when it comes: the change was told before the page was drawn."""
        answer = route.fetch()
        while to_write:
            step, value = to_write.popitem()
            hand.write_metrics(directory, step, reward=value)
            time.sleep(1)
        route.fulfill(response=answer)

    with viewer(directory) as address:
        seen = Page(browser, address)
        seen.page.route("**/api/curves*", answer_late)
        seen.page.reload()
        reward = seen.page.locator(".chart .legend b").first
        playwright.expect(reward).to_have_text("0.875")
        seen.show("rollouts", "tbody tr")
        to_write[5] = 0.625
        seen.page.goto(f"{seen.origin}/#/overview")
        playwright.expect(reward).to_have_text("0.625")
        seen.close()


def test_a_file_shows_its_run_without_a_server_and_fetches_nothing(browser, hostile):
    path = write_page([hostile], hostile / "page.html")
    text = path.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    seen = Page(browser, f"file://{path}", viewport={"width": 500, "height": 800})
    seen.page.locator(".shown-group .token").first.wait_for()
    seen.wrong = [said for said in seen.wrong if said != f"foreign file://{path}"]
    assert seen.wrong == []
    assert "fell" in seen.text() or "stayed" in seen.text()
    assert seen.page.locator(".chart canvas").count() >= 1
    assert not seen.page.evaluate("window.hacked === 1")
    assert seen.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    seen.close()


def test_paper_is_light_and_curves_are_drawn_for_it(browser, make_run, tmp_path):
    """On a dark screen, too: no light line on white paper, and what only a screen needs is left out."""
    file = tmp_path / "page.html"
    write_page([make_run("one")], file)
    context = browser.new_context(color_scheme="dark", bypass_csp=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.locator(".chart canvas").first.wait_for()
    count = """([red, green, blue]) => {
      const canvas = document.querySelector("figure.chart canvas");
      const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let found = 0;
      for (let at = 0; at < all.length; at += 4) {
        found += all[at] === red && all[at + 1] === green && all[at + 2] === blue;
      }
      return found;
    }"""
    light, dark = [0x1F, 0x5F, 0xD0], [0x86, 0xB0, 0xFF]
    assert (page.evaluate(count, light), page.evaluate(count, dark) > 0) == (0, True)
    page.emulate_media(media="print")
    page.wait_for_function(f"colour => ({count})(colour) > 0", arg=light)  # drawn in the next turn
    assert page.evaluate(count, dark) == 0
    assert page.locator(".top").evaluate("each => getComputedStyle(each).display") == "none"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 251)"
    context.close()


def test_runs_of_two_methods_are_laid_over_one_another(browser, make_run):
    first, second = make_run("one"), make_run("two")
    for name in ("run.json", "metrics.jsonl", "times.jsonl"):
        (second / name).write_text((second / name).read_text().replace('"grpo"', '"gspo"'))
    with viewer(first, second) as address:
        page = Page(browser, address)
        page.page.locator(".chart canvas").first.wait_for()
        chosen = page.page.get_by_role("button", name="last of each", exact=True)
        playwright.expect(chosen).to_have_attribute("aria-pressed", "true")
        playwright.expect(page.page.locator(".chart").first).to_contain_text("two")
        page.show("compare", "table")
        playwright.expect(page.page.locator("main")).to_contain_text("At the last step of grpo and gspo")
        playwright.expect(page.page.locator("main")).to_contain_text("grpo.name")
        assert not page.wrong
        page.close()
