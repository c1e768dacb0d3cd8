"""Pages find each other, and each is found from the README."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("bench/**/*.md"))]


def links(page):
    """What a page links to: the file, and the anchor in it or ""."""
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            yield (page.parent / file).resolve() if file else page, anchor


def anchors(page):
    """Return a page's headings as GitHub names them."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for file, anchor in links(page):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), (file, anchor)


def test_every_page_of_docs_is_found_from_the_readme():
    found, seen = [ROOT / "README.md"], set()
    while found:
        page = found.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            found += [file for file, _ in links(page)]
    assert set(ROOT.glob("docs/*.md")) <= seen
