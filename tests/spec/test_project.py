"""Projects: which file, how it is imported, what is collected, and what its author is told."""

import sys
from pathlib import Path

import pytest

from skyloom.kernel.errors import DeclarationError, NotFound
from skyloom.spec.project import load

VISITS = """
import skyloom as sky

class Visit(sky.Event):
    id: str = sky.key()
    at: sky.Timestamp = sky.time()
    shop: str
    bought: bool

visits = sky.Source(Visit, table="visits.parquet")
bought = sky.Label(visits, on="id", value=sky.col("bought"), within="1d")
recent = sky.Features(visits, by="shop", visits=sky.count(over=["1h"]))
"""

MODEL = '''
@sky.model(requests=visits, label=bought, features=[visits["shop"], recent])
def buys(X, y, *, depth: int = 3):
    """Does a visit end with a purchase?"""
    return depth
'''


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("_py", ".py").replace("_toml", ".toml")).write_text(text)
    return directory


def refusal(directory: Path) -> str:
    before = list(sys.path)
    with pytest.raises(DeclarationError) as caught:
        load(directory)
    assert sys.path == before
    return str(caught.value)


def test_declarations_are_called_as_their_variables(tmp_path: Path):
    project = load(write(tmp_path, shop_py=VISITS + MODEL))
    assert (project.name, project.module) == ("shop", "shop.py")
    assert [list(found) for found in (project.sources, project.groups, project.labels, project.models)] == [
        ["visits"],
        ["recent"],
        ["bought"],
        ["buys"],
    ]


def test_the_settings_name_the_project_and_its_module(tmp_path: Path):
    write(tmp_path, a_py=VISITS + MODEL, b_py=VISITS + MODEL)
    assert "several files declare models: a.py, b.py" in refusal(tmp_path)
    project = load(write(tmp_path, skyloom_toml='[project]\nname = "store"\nmodule = "b.py"\n[local]\n'))
    assert (project.name, project.module) == ("store", "b.py")


def test_without_a_model_the_file_with_the_sources_is_the_project(tmp_path: Path):
    write(tmp_path, shop_py=VISITS, helper_py="import skyloom\nN = 1\n")
    assert load(tmp_path).module == "shop.py"
    write(tmp_path, other_py=VISITS)
    assert "several files declare sources: other.py, shop.py" in refusal(tmp_path)


def test_a_second_name_does_not_rename(tmp_path: Path):
    assert list(load(write(tmp_path, shop_py=VISITS + MODEL + "again = visits\n")).sources) == ["visits"]


def test_loading_again_sees_the_edit_at_once(tmp_path: Path):
    load(write(tmp_path, shop_py=VISITS + MODEL, helper_py="N = 1\n"))
    edited = load(write(tmp_path, shop_py=VISITS + MODEL.replace("depth: int = 3", "depth: int = 4")))
    assert edited.function("buys")(None, None) == 4
    assert not list(tmp_path.glob("__pycache__"))


def test_two_projects_of_one_module_name_do_not_mix(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write(
            tmp_path / name,
            shop_py="from words import WORD\n" + VISITS + MODEL.replace("depth\n", "WORD\n"),
            words_py=f"WORD = {name!r}",
        )
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    assert (first.function("buys")(None, None), second.function("buys")(None, None)) == ("a", "b")


def test_a_function_may_import_its_project_when_it_runs(tmp_path: Path):
    body = MODEL.replace("    return depth", "    from lazy import VALUE\n    return VALUE")
    project = load(write(tmp_path, shop_py=VISITS + body, lazy_py="VALUE = 7\n"))
    before = list(sys.path)
    assert project.function("buys")(None, None) == 7
    assert sys.path == before


def test_an_unknown_model_names_the_nearest(tmp_path: Path):
    project = load(write(tmp_path, shop_py=VISITS + MODEL))
    with pytest.raises(NotFound, match=r"no model 'buy'[\s\S]*did you mean buys"):
        project.function("buy")


def test_no_project_says_how_to_get_one(tmp_path: Path):
    assert "skyloom new" in refusal(tmp_path)
    assert "no directory" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ('[project]\nmodul = "a.py"', "did you mean module?"),
        ("[project]\nmodule = 3", "module = 3 is no text"),
        ('[project]\nmodule = "gone.py"', 'say module = "shop.py"'),
        ('[project]\nmodule = "../x.py"', "outside of the project"),
        ("[project", "cannot be read"),
        ('name = "x"', "'name' stands in no table"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: str, complaint: str):
    assert complaint in refusal(write(tmp_path, shop_py=VISITS + MODEL, skyloom_toml=settings))


def test_the_traceback_is_the_users_own(tmp_path: Path):
    write(
        tmp_path, shop_py=VISITS + "from helper import half\nhalf(0)\n" + MODEL, helper_py="def half(n):\n    return 1 / n\n"
    )
    text = refusal(tmp_path)
    assert "shop.py does not import" in text
    assert "ZeroDivisionError: division by zero" in text
    assert "mend helper.py, line 2" in text
    assert "half(0)" in text
    assert "importlib" not in text
    assert "site-packages" not in text
    assert "skyloom/spec" not in text


def test_a_syntax_error_shows_its_line(tmp_path: Path):
    text = refusal(write(tmp_path, shop_py=VISITS + "def broken(:\n" + MODEL))
    line = VISITS.count("\n") + 1
    assert "SyntaxError" in text
    assert "def broken(:" in text
    assert f"mend shop.py, line {line}" in text


def test_a_wrong_declaration_says_where(tmp_path: Path):
    text = refusal(write(tmp_path, shop_py=VISITS.replace('"1h"', '"1 hour"') + MODEL))
    assert text.startswith("shop.py, line 12: '1 hour' is not a duration")


def test_a_missing_library_says_what_to_install(tmp_path: Path):
    assert "install the package that holds not_there" in refusal(
        write(tmp_path, shop_py="import not_there.part\n" + VISITS + MODEL)
    )


def test_a_module_that_exits_is_an_error(tmp_path: Path):
    assert "SystemExit: 3" in refusal(write(tmp_path, shop_py=VISITS + "import sys; sys.exit(3)\n" + MODEL))


@pytest.mark.parametrize("back", ["from shop import visits\n", "import shop\nx = shop.visits\n"])
def test_modules_that_import_each_other_are_called_a_circle(tmp_path: Path, back: str):
    text = refusal(write(tmp_path, shop_py="import middle\n" + VISITS + MODEL, middle_py="import far\n", far_py=back))
    assert "in a circle: shop.py -> middle.py -> far.py -> shop.py" in text


def test_an_error_that_only_looks_like_a_circle_is_shown_as_it_is(tmp_path: Path):
    text = refusal(write(tmp_path, shop_py="from helper import gone\n" + VISITS + MODEL, helper_py="x = 1\n"))
    assert "circle" not in text
    assert "cannot import name 'gone'" in text


@pytest.mark.parametrize("name", ["json.py", "time.py"])
def test_a_module_with_a_taken_name_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_text(VISITS + MODEL)
    assert "rename it" in refusal(tmp_path)


def test_a_file_that_cannot_be_imported_is_refused(tmp_path: Path):
    (tmp_path / "my-shop.py").write_text(VISITS + MODEL)
    assert "rename it" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("features=[visits", "features=[sky.Features(visits, by='shop', n=sky.count(over=['1h'])), visits", "Features"),
        ("requests=visits", "requests=sky.Source(Visit)", "Source"),
        ("label=bought", "label=sky.Label(sky.Source(Visit), on='id', value=sky.col('bought'), within='1d')", "Source"),
    ],
)
def test_what_is_used_needs_a_name(tmp_path: Path, old: str, new: str, kind: str):
    text = refusal(write(tmp_path, shop_py=VISITS + MODEL.replace(old, new)))
    assert f"uses a {kind} that has no name" in text
    assert "give it a name" in text


def test_a_failed_load_leaves_nothing_behind(tmp_path: Path):
    refusal(write(tmp_path, shop_py="import helper\n1 / 0\n" + VISITS + MODEL, helper_py="x = 1\n"))
    write(tmp_path, shop_py="import helper\n" + VISITS + MODEL, helper_py="x = 2\n")
    load(tmp_path)
    assert sys.modules["helper"].x == 2


def test_annotations_may_be_texts(tmp_path: Path):
    project = load(write(tmp_path, shop_py="from __future__ import annotations\n" + VISITS + MODEL))
    assert [column.field.type for column in project.sources["visits"].event.__columns__][:2] == ["string", "timestamp"]
