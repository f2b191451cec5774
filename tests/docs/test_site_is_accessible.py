"""The site's pages have no fault that axe finds, in both schemes, on a wide and on a narrow screen."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
AXE = next((ROOT / "tests" / "view" / "axe").glob("*.js"))
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and find_spec("material") and find_spec("latex2mathml")),
    reason="no browser, or the extra [docs] is not installed",
)
playwright = pytest.importorskip("playwright.sync_api", reason="no browser here: pip install playwright")
PAGES = ("index", "tutorial", "methods/grpo", "numbers")


def test_no_fault_is_found_and_no_page_is_wider_than_the_screen(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, timeout=600, check=True)
    with playwright.sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for scheme, width in (("light", 500), ("dark", 1280)):
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
            )
            page = context.new_page()
            for name in PAGES:
                page.goto((tmp_path / f"{name}.html").as_uri())
                page.evaluate(AXE.read_text(encoding="utf-8"))
                found = page.evaluate("axe.run()")["violations"]
                assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == [], (name, scheme, width)
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (name, width)
            context.close()
        browser.close()
