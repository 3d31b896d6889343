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
