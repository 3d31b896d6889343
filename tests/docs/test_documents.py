"""What the documentation shows is what happens: every example of every page is run."""

import doctest
import re
from contextlib import closing
from pathlib import Path

import pytest

from skyloom.cli.main import COMMANDS
from skyloom.platform import open_platform

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


def test_the_profile_of_the_page_about_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    [(_, settings)] = blocks("scale.md", "toml")
    (tmp_path / "skyloom.toml").write_text(settings)
    monkeypatch.setenv("CACHE_PASSWORD", "hidden")
    platform = open_platform(tmp_path, "scale")
    with closing(platform.log) as log, closing(platform.online) as online:
        assert (type(log).__name__, type(online).__name__) == ("KafkaLog", "RedisOnline")
    assert platform.profile.retention.days == 7
