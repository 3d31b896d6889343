"""Project files that cannot be: what is said, and that what was recorded stays."""

import pytest
from tests.journeys import shop
from tests.journeys.journey import Project


@pytest.fixture
def recorded(declared: Project) -> Project:
    """The shop, applied."""
    declared.json("apply")
    return declared


def changed(project: Project, old: str, new: str) -> None:
    assert shop.PROJECT.count(old) == 1, old
    project.write("shop.py", shop.PROJECT.replace(old, new))


def still_recorded(project: Project) -> None:
    """What a refused apply leaves: the record of before, which the good file still matches."""
    project.write("shop.py", shop.PROJECT)
    planned = project.json("plan")
    assert planned["changes"] == []
    assert planned["digest"] == planned["recorded"]


def test_a_file_that_does_not_import_shows_its_own_traceback(recorded: Project) -> None:
    project = recorded
    project.write("tools.py", "def ratio(a, b):\n    return a / b\n")
    changed(project, "import skyloom as sky\n", "import skyloom as sky\nfrom tools import ratio\n\nLIMIT = ratio(1, 0)\n")
    refusal = project.refused("apply")
    assert refusal.error.startswith("shop.py does not import\n")
    assert "ZeroDivisionError: division by zero" in refusal.error
    assert "return a / b" in refusal.error
    assert "LIMIT = ratio(1, 0)" in refusal.error
    assert "importlib" not in refusal.error
    assert "site-packages" not in refusal.error
    assert "skyloom/spec" not in refusal.error
    assert refusal.next == "mend tools.py, line 2"
    still_recorded(project)


def test_a_syntax_error_and_a_missing_package(recorded: Project) -> None:
    project = recorded
    changed(project, "def late(X, y):", "def late(X, y:")
    refusal = project.refused("plan")
    assert "SyntaxError" in refusal.error
    assert refusal.next.startswith("mend shop.py, line ")
    changed(project, "import skyloom as sky\n", "import skyloom as sky\nimport no_such_package\n")
    refusal = project.refused("plan")
    assert "No module named 'no_such_package'" in refusal.error
    assert refusal.next.startswith("install the package that holds no_such_package")
    still_recorded(project)


def test_an_unknown_column_is_told_with_the_nearest_ones(recorded: Project) -> None:
    project = recorded
    changed(project, 'delay=sky.mean("delay"', 'delay=sky.mean("dealy"')
    refusal = project.refused("apply")
    assert "recent.delay" in refusal.error
    assert "'dealy'" in refusal.error
    assert "delay" in refusal.next
    changed(project, 'features=[orders["amount"], recent]', 'features=[orders["amuont"], recent]')
    refusal = project.refused("apply")
    assert "amuont" in refusal.error
    assert "amount" in refusal.next
    still_recorded(project)


def test_modules_that_import_each_other_are_shown_as_a_circle(recorded: Project) -> None:
    project = recorded
    project.write("one.py", "from two import b\n\na = 1\n")
    project.write("two.py", "from one import a\n\nb = 2\n")
    changed(project, "import skyloom as sky\n", "import skyloom as sky\nfrom one import a\n")
    refusal = project.refused("apply")
    assert refusal.error == "modules import each other in a circle: one.py -> two.py -> one.py"
    assert "move what both need into a file of its own" in refusal.next
    still_recorded(project)


def test_a_window_is_a_multiple_of_its_hop(recorded: Project) -> None:
    project = recorded
    changed(project, 'sky.count(over=["1d"])', 'sky.count(over=["50m"], hop="20m")')
    refusal = project.refused("apply")
    assert "the window 50m is no multiple of its hop 20m" in refusal.error
    assert 'over=["1h"]' in refusal.next
    still_recorded(project)


def test_two_features_of_one_name(recorded: Project) -> None:
    project = recorded
    changed(project, 'over=["1d", "7d"]', 'over=["1d", "1d"]')
    refusal = project.refused("apply")
    assert "2 features are called recent_delay_1d" in refusal.error.replace("recent: ", "")
    changed(project, 'features=[orders["amount"], recent]', 'features=[orders["amount"], orders["amount"], recent]')
    refusal = project.refused("apply")
    assert "amount" in refusal.error
    still_recorded(project)


def test_every_mistake_is_told_at_once(recorded: Project) -> None:
    project = recorded
    text = shop.PROJECT.replace('"dealy"', '"delay"').replace('over=["1d", "7d"]', 'over=["1d", "1d"]')
    project.write("shop.py", text.replace('by="shop"', 'by="shoop"'))
    refusal = project.refused("plan")
    assert "shoop" in refusal.error
    assert "recent_delay_1d" in refusal.error


def test_a_project_that_was_never_applied_says_what_to_type(declared: Project) -> None:
    for words in (["ingest", "orders"], ["train", "late"], ["models"], ["up"], ["receipt", "p_1"]):
        assert declared.refused(*words).next == "skyloom apply", words
