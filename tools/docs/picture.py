"""This script makes the picture of a run that the first page shows: the head of its report, and answers before and
after.

    python tools/docs/picture.py runs/extract-plain-0/report.html docs/real-model.png

It draws in headless Chromium what the report itself shows, without the tables between the two, and writes the model's
directory from ``models`` on, as whoever opens the page would have it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1180, 1214
KEPT = """
() => {
  const page = document.querySelector('.page.report');
  const shown = [...page.children];
  const problems = shown.findIndex(part => part.tagName === 'H2' && part.textContent === 'Problem by problem');
  const head = shown.findIndex(part => part.classList.contains('run-cards'));
  shown.slice(head + 1, problems).forEach(part => part.remove());
  page.querySelectorAll('select').forEach(part => (part.closest('.filters') || part.parentElement).remove());
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode())
    node.textContent = node.textContent.replace(/\\S*\\/(models\\/)/, '$1');
}
"""


def main() -> None:
    """Writes the picture."""
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("report", type=Path, help="report.html of a run")
    known.add_argument("picture", type=Path, help="the PNG to write")
    chosen = known.parse_args()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(chosen.report.resolve().as_uri())
        page.wait_for_selector(".grid-of-problems")
        page.evaluate(KEPT)
        page.screenshot(path=chosen.picture)
        browser.close()


if __name__ == "__main__":
    main()
