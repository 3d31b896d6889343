"""What the environment of a platform changes, who needs no key there, and which contracts are on."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clouds import SCORES, Cloud
from serving_world import World, load

from skyloom.delivery.release import POINTER
from skyloom.delivery.release import load as load_release
from skyloom.kernel.contracts import CONTRACTS
from skyloom.kernel.errors import DeclarationError, UsageError
from skyloom.serving.contracts.catalog import CATALOG, SHARED, endpoints_of
from skyloom.serving.contracts.sagemaker_multi_model import MultiModel
from skyloom.serving.exchange import Exchange
from skyloom.serving.life import Life
from skyloom.serving.loaded import LoadedRelease, assemble
from skyloom.serving.platforms import EVERYWHERE, listen_on
from skyloom.serving.services import Limits, Listen
from skyloom.serving.table import OPEN, Endpoint, Table
from skyloom.serving.wire import Call, Problem

Start = Callable[..., Cloud]
Flights = list[dict[str, Any]]


def routes(contracts: list[str], environ: dict[str, str] | None = None, *, trust: bool = False) -> list[Endpoint]:
    """The endpoints of contracts whose handlers are never called."""
    unused: Any = None
    exchange = Exchange(unused, unused, None, 10)

    class Parts:
        answering = inference = ingestion = metrics = unused
        life = Life()
        limits = Limits()

    parts: Any = Parts()
    parts.exchange, parts.environ = exchange, environ or {}
    return endpoints_of(parts, contracts, trust_platform=trust)


def test_every_contract_can_be_on_beside_all_others() -> None:
    assert set(CATALOG) == set(CONTRACTS)
    table = Table(routes(list(CONTRACTS)))
    assert table.find("POST", "/invocations").endpoint.policy == "predict"
    for shared in SHARED:
        assert set(shared.contracts) <= set(CONTRACTS)
        if not shared.path.startswith("$"):
            claimed = [
                name for name in shared.contracts if any(_is(each, shared.method, shared.path) for each in routes([name]))
            ]
            assert tuple(claimed) == shared.contracts


def _is(endpoint: Endpoint, method: str, path: str) -> bool:
    return (endpoint.method, endpoint.path) == (method, path)


def test_any_two_contracts_get_along_whatever_their_order() -> None:
    for one in CONTRACTS:
        for other in CONTRACTS:
            Table(routes([one, other]))


def test_routes_of_a_contract_that_is_off_are_not_there(start: Start, flights: Flights) -> None:
    cloud = start(contracts=["predict", "health"])
    assert cloud.post("/predict", flights[0]).status == 200
    for method, path in (("POST", "/invocations"), ("GET", "/ping"), ("GET", "/v2"), ("POST", "/models"), ("POST", "/")):
        assert cloud.ask(method, path, b"{}").status == 404, path
    administrative = {each.path for each in routes(list(CONTRACTS)) if each.policy == "admin"}
    usual = {each.path for each in routes(["predict", "events", "open-inference", "health"])}
    assert administrative
    assert not administrative & usual


@pytest.mark.parametrize(
    ("route", "health"), [("/score-it", "/alive"), ("/predict", "/health/ready"), ("/invocations", "/ping")]
)
def test_vertex_serves_where_the_environment_says(start: Start, flights: Flights, route: str, health: str) -> None:
    environ = {"AIP_PREDICT_ROUTE": route, "AIP_HEALTH_ROUTE": health}
    cloud = start(contracts=["predict", "health", "vertex", "sagemaker"], environ=environ)
    assert cloud.ask("GET", health).status == 200
    assert cloud.post(route, {"instances": flights}).json == {"predictions": SCORES}
    assert cloud.post("/predict/late", {"instances": flights[:1]}).json["predictions"][0]["model"] == "late"


def test_two_that_want_a_route_which_nobody_has_thought_of_are_told() -> None:
    with pytest.raises(DeclarationError, match="torchserve and vertex both want POST /predictions/"):
        routes(["torchserve", "vertex"], {"AIP_PREDICT_ROUTE": "/predictions/{model}"})


def test_a_platform_that_is_trusted_opens_its_own_contracts_alone(start: Start, flights: Flights) -> None:
    cloud = start(contracts=["predict", "sagemaker", "mlflow"], trust_platform=True, key=False)
    assert cloud.post("/invocations", {"instances": flights}).json == {"predictions": SCORES}
    assert cloud.post("/predict", flights[0]).status == 401
    opened = {each.path for each in routes(["torchserve", "azure", "health"], trust=True) if each.policy == OPEN}
    assert opened == {"/", "/score", "/swagger.json", "/ping", "/health/live", "/health/startup", "/health/ready"}


@pytest.mark.parametrize("kind", ["text/csv", "application/jsonlines"])
def test_a_batch_gets_a_line_for_each_line(start: Start, flights: Flights, kind: str) -> None:
    environ = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "50"}
    cloud = start(contracts=["sagemaker"], environ=environ, trust_platform=True, key=False)
    told = cloud.ask("GET", "/execution-parameters").json
    assert (told["MaxConcurrentTransforms"], told["MaxPayloadInMB"]) == (2, 50)
    rows = [{**row, "flight_id": f"b{turn}-{number}"} for turn in range(200) for number, row in enumerate(flights)]
    if kind == "text/csv":
        body = "\n".join(",".join(json.dumps(value).strip('"') for value in row.values()) for row in rows)
        expected = [str(each) for each in SCORES]
    else:
        body = "\n".join(json.dumps(row) for row in rows)
        expected = [json.dumps({"score": each}, separators=(",", ":")) for each in SCORES]
    answer = cloud.post("/invocations", body.encode(), content_type=kind)
    assert answer.body.decode().splitlines() == expected * 200
    assert cloud.post("/invocations", {"instances": flights}).json == {"predictions": SCORES}


def test_what_sagemaker_answers_by_default_can_be_said(start: Start, flights: Flights) -> None:
    cloud = start(contracts=["sagemaker"], environ={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"})
    assert cloud.post("/invocations", {"instances": flights[:1]}).body == b"0.25\n"


def test_the_port_is_the_platforms_where_its_contract_is_on() -> None:
    usual = Listen(port=8080)
    environ = {"PORT": "9000", "AIP_HTTP_PORT": "9001", "SAGEMAKER_BIND_TO_PORT": "9002"}
    assert listen_on(["predict"], environ, usual) is usual
    assert listen_on(["knative"], environ, usual) == Listen(EVERYWHERE, 9000)
    assert listen_on(["knative", "vertex"], environ, usual) == Listen(EVERYWHERE, 9001)
    assert listen_on(["knative", "vertex", "sagemaker"], environ, usual).port == 9002
    for wrong in ("x", "0", "65536", "-1"):
        with pytest.raises(UsageError, match=f"PORT={wrong} is no port"):
            listen_on(["knative"], {"PORT": wrong}, usual)


def test_multi_model_endpoints_know_models_by_the_names_they_were_given(cloud: Cloud, flights: Flights) -> None:
    target = {"x_amzn_sagemaker_target_model": "other"}
    assert cloud.post("/models/other/invoke", {"instances": flights}, **target).status == 404
    load = {"model_name": "other", "url": "/opt/ml/models/other/model"}
    assert cloud.post("/models", load).json == {"modelName": "other", "modelUrl": load["url"]}
    assert cloud.post("/models", load).status == 409
    assert cloud.ask("GET", "/models").json == {"models": [{"modelName": "other", "modelUrl": load["url"]}]}
    assert cloud.ask("GET", "/models/other").status == 200
    answer = cloud.post("/models/other/invoke", {"instances": flights[:1]}, **target)
    assert answer.json == {"predictions": [0.5]}
    assert cloud.ask("DELETE", "/models/other").status == 200
    assert cloud.ask("DELETE", "/models/other").status == 404
    assert cloud.post("/models", {"model_name": "nobody", "url": "/opt/ml/models/nobody/model"}).status == 404
    for url in ("/etc", "/opt/ml/models/../../../etc", "file:///opt/ml/models"):
        answer = cloud.post("/models", {"model_name": "other", "url": url})
        assert (answer.status, "does not lie in /opt/ml/models" in answer.json["error"]) == (400, True)


def test_an_archive_says_which_model_it_stands_for(tmp_path: Path, cloud_world: World) -> None:
    asyncio.run(_ask_archives(tmp_path, _loaded(cloud_world)))


async def _ask_archives(tmp_path: Path, loaded: LoadedRelease) -> None:
    asked: list[dict[str, str]] = []

    async def invoke(call: Call) -> Any:
        asked.append(call.parameters)

    models = MultiModel(invoke, tmp_path)

    def call(name: str, folder: Path) -> Call:
        body = json.dumps({"model_name": name, "url": str(folder)}).encode()
        return Call({}, body, loaded)

    for name, said in (("a1", '{"model": "late"}'), ("b2", '{"model": "other", "version": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "skyloom.json").write_text(said)
        await models.load(call(name, tmp_path / name))
        await models.invoke(Call({"name": name}, b"", loaded))
    assert asked == [{"model": "late"}, {"model": "other", "version": "3"}]
    for said in ('{"model": 3}', "{", '{"model": "late", "x": 1}', '{"model": "late", "version": 9}'):
        (tmp_path / "a1" / "skyloom.json").write_text(said)
        with pytest.raises(Problem):
            await models.load(call("c3", tmp_path / "a1"))
    (tmp_path / "d4").mkdir()
    (tmp_path / "d4" / "skyloom.json").symlink_to("/etc/passwd")
    with pytest.raises(Problem, match="leads out of"):
        await models.load(call("d4", tmp_path / "d4"))


def _loaded(world: World) -> LoadedRelease:
    pointed = (world.objects.pointer(POINTER) or b"").decode()
    release = load_release(world.objects, world.verifier, pointed)
    return assemble(pointed, release, world.online, lambda digest: load(world.objects, digest))
