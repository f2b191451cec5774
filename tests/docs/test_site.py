"""The pages as a site: built strictly, so that a link to nothing, a page in no menu and a formula that is none are
errors; and without a fault that axe finds, in both schemes, on a wide and on a narrow screen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
AXE = next((ROOT / "tests" / "view" / "axe").glob("*.js"))
PAGES = ("index", "tutorial", "methods/grpo", "numbers")
pytestmark = pytest.mark.skipif(
    not (find_spec("material") and find_spec("latex2mathml")), reason="the extra [docs] is not installed"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``make site`` builds it."""
    site = tmp_path_factory.mktemp("site") / "site"
    done = build(ROOT / "mkdocs.yml", site)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def build(configuration: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # --quiet would hide warnings from --strict
    command += ["--config-file", str(configuration), "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_every_page_is_there_and_in_the_menu(site: Path) -> None:
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    wanted = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {name.replace("README.html", "index.html") for name in wanted} - pages == set()
    assert "dr_grpo" in (site / "methods" / "grpo.html").read_text(), "the menu names the methods beside each other"


def test_formulas_are_mathematics(site: Path) -> None:
    method, tutorial = ((site / name).read_text() for name in ("methods/grpo.html", "tutorial.html"))
    assert method.count("<math") >= 8
    assert tutorial.count("<math") >= 20
    assert r"\~" not in method
    for text in (method, tutorial):
        assert not re.search(r"\$[^$<>\n]*\\[a-z]+[^$<>\n]*\$", text), "a formula that was left as it is"


def test_files_of_the_repository_are_laid_beside_the_pages(site: Path) -> None:
    linked = re.search(r'href="(\.\./repository/[^"]*grpo\.py\.txt)"', (site / "methods" / "grpo.html").read_text())
    assert linked
    assert (site / "methods" / linked[1]).resolve().read_text().startswith('"""')


def test_no_page_asks_another_machine_for_anything(site: Path) -> None:
    for page in ("index.html", "tutorial.html", "methods/grpo.html"):
        fetched = re.findall(
            r'(?:<script[^>]*src|<img[^>]*src|<link rel="stylesheet" href)="([^"]*)"', (site / page).read_text()
        )
        assert [address for address in fetched if "//" in address] == []


def test_a_link_to_nothing_stops_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "methods").mkdir(parents=True)
    (docs / "methods" / "README.md").write_text("# Methods\n")
    (docs / "index.md").write_text("# Page\n\n[nowhere](not-there.md)\n")
    hook = ROOT / "tools" / "docs" / "site_pages.py"
    settings = f"site_name: x\nstrict: true\nhooks: [{hook}]\nnav: [index.md, methods/README.md]\n"
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "not-there.md" in done.stdout + done.stderr


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no browser here: /usr/bin/chromium of Debian's chromium")
def test_no_fault_is_found_and_no_page_is_wider_than_the_screen(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no browser here: pip install playwright")
    with playwright.sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for scheme, width in (("light", 500), ("dark", 1280)):
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
            )
            page = context.new_page()
            for name in PAGES:
                page.goto((site / f"{name}.html").as_uri())
                page.evaluate(AXE.read_text(encoding="utf-8"))
                found = page.evaluate("axe.run()")["violations"]
                assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == [], (name, scheme, width)
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (name, width)
            context.close()
        browser.close()
