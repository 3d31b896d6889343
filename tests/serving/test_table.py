"""Routes: every one has a policy, and each request finds at most one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.kernel.errors import DeclarationError
from skyloom.serving.table import OPEN, Endpoint, Table
from skyloom.serving.wire import Call, Problem, Reply


async def nothing(call: Call) -> Reply:
    return Reply(200, b"")


@pytest.mark.parametrize("policy", ["", "anyone", "Predict"])
def test_a_route_without_a_policy_is_refused_at_the_start(policy: str) -> None:
    with pytest.raises(DeclarationError, match="has no policy"):
        Table([Endpoint("GET", "/x", policy, nothing)])


def test_the_same_route_twice_is_refused() -> None:
    with pytest.raises(DeclarationError, match="there twice"):
        Table([Endpoint("GET", "/x/{a}", OPEN, nothing), Endpoint("GET", "/x/{b}", OPEN, nothing)])


@given(st.text(st.sampled_from("/ab{}.%\0é"), max_size=12))
def test_any_path_is_found_or_not_there(path: str) -> None:
    table = Table([Endpoint("GET", "/a", OPEN, nothing), Endpoint("POST", "/a/{b}", "predict", nothing)])
    words = path.split("/")
    there = path == "/a" or (words[:2] == ["", "a"] and len(words) == 3 and words[2] != "")
    for method in ("GET", "POST", "DELETE"):
        found, status = None, 0
        try:
            found = table.find(method, path)
        except Problem as problem:
            status = problem.status
        if found is None:
            assert status == (405 if there else 404)
        else:
            assert there
            assert (method, path) == ("GET", "/a") or (method == "POST" and found.parameters == {"b": words[2]})


def test_a_verb_behind_a_word_is_no_part_of_it() -> None:
    ask = Endpoint("POST", "/m/{model}:ask", "predict", nothing)
    table = Table([Endpoint("GET", "/m/{model}", OPEN, nothing), Endpoint("POST", "/m/{model}", OPEN, nothing), ask])
    assert table.find("POST", "/m/late:ask") == (ask, {"model": "late"})
    assert table.find("POST", "/m/a:b:ask") == (ask, {"model": "a:b"})
    assert table.find("POST", "/m/:ask").endpoint.path == "/m/{model}"
    assert table.find("GET", "/m/late:ask") == (table.endpoints[0], {"model": "late:ask"})


def test_verbs_make_routes_of_their_own() -> None:
    paths = ["/m/{model}:ask", "/m/{model}:tell", "/m/{model}"]
    assert len(Table([Endpoint("POST", path, OPEN, nothing) for path in paths]).endpoints) == 3
    with pytest.raises(DeclarationError, match="there twice"):
        Table([Endpoint("POST", "/m/{a}:ask", OPEN, nothing), Endpoint("POST", "/m/{b}:ask", OPEN, nothing)])
