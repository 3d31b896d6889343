"""What the documentation shows is what happens: every example of every page is run."""

import doctest
import re
from pathlib import Path

import pytest

from skyloom.cli.main import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))


def blocks(page: str, kind: str) -> list[tuple[int, str]]:
    """(line number, content) of every fenced block of a kind."""
    text = (DOCS / page).read_text()
    found = re.finditer(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, each.start(1)), each[1]) for each in found]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page(page: str):
    """One after the other, as a reader would type them."""
    names: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    examples = 0
    for line, block in blocks(page, "python"):
        test = doctest.DocTestParser().get_doctest(block, names, page, str(DOCS / page), line)
        assert test.examples, f"{page}:{line}: an example that shows nothing"
        examples += len(test.examples)
        runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0
    assert examples


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_exist(page: str):
    for _, block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ skyloom "):
                assert line.split()[2] in COMMANDS
