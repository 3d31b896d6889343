"""tritonclient over HTTP, as its users call it."""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    import numpy as np
    import tritonclient.http as client_of
    import tritonclient.http.aio as aio
    from checks import FLIGHTS, SCORE, columns, refused, run, told
    from tritonclient.utils import InferenceServerException

    where = told()
    # each call gets a copy: the client writes into the headers that it is given
    headers = {"Authorization": f"Bearer {where['key']}"}
    client: Any = client_of.InferenceServerClient(where["http"], concurrency=2)
    dtypes = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64, "BOOL": bool}

    def inputs(count: int = FLIGHTS, binary: bool = True) -> list[Any]:
        made = []
        for name, (datatype, values) in columns(count).items():
            tensor = client_of.InferInput(name, [count], datatype)
            tensor.set_data_from_numpy(np.array(values, dtypes[datatype]), binary_data=binary)
            made.append(tensor)
        return made

    def right(result: Any, count: int = FLIGHTS) -> None:
        assert result.as_numpy("score").tolist() == [SCORE] * count, result.as_numpy("score")

    def infer(**options: Any) -> Any:
        return client.infer("late", options.pop("inputs", None) or inputs(), headers=dict(headers), **options)

    def outputs(binary: bool) -> list[Any]:
        return [client_of.InferRequestedOutput(name, binary_data=binary) for name in ("score", "label", "receipt")]

    def whole(result: Any) -> None:
        right(result)
        assert result.as_numpy("label").tolist() == [False] * FLIGHTS
        assert all(str(each, "utf-8").startswith("p_") for each in result.as_numpy("receipt")), result.as_numpy("receipt")

    def json_out(result: Any) -> None:
        right(result)
        assert result.as_numpy("label").tolist() == [False] * FLIGHTS
        assert all(str(each).startswith("p_") for each in result.as_numpy("receipt"))

    def fails(status: str, **options: Any) -> None:
        error = refused(InferenceServerException, lambda: infer(**options))
        assert error.status() == status, (error.status(), error.message())
        assert "decoding" not in error.message(), error.message()

    def metadata() -> None:
        assert client.get_server_metadata(headers=headers)["name"] == "skyloom"
        for version in ("", "1"):
            model = client.get_model_metadata("late", model_version=version, headers=headers)
            assert [each["name"] for each in model["inputs"]] == list(columns()), model
            assert client.get_model_config("late", model_version=version, headers=headers)["name"] == "late"

    def many() -> None:
        waiting = [client.async_infer("late", inputs(), headers=dict(headers)) for _ in range(8)]
        for each in waiting:
            right(each.get_result())

    async def asynchronous() -> None:
        async with aio.InferenceServerClient(where["http"]) as other:
            assert await other.is_server_ready()
            for done in await asyncio.gather(*(other.infer("late", inputs(), headers=dict(headers)) for _ in range(4))):
                right(done)
            packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
            right(await other.infer("late", inputs(100), headers=dict(headers), **packed), 100)

    def statistics() -> None:
        before = client.get_inference_statistics("late", headers=headers)["model_stats"][0]["inference_count"]
        infer()
        assert client.get_inference_statistics(headers=headers)["model_stats"][0]["inference_count"] == before + FLIGHTS

    def repository() -> None:
        assert client.get_model_repository_index(headers=headers)[0]["state"] == "READY"
        client.unload_model("late", headers=headers)
        assert not client.is_model_ready("late", headers=headers)
        fails("503")
        assert client.get_model_repository_index(headers=headers)[0]["state"] == "UNAVAILABLE"
        client.load_model("late", headers=headers)
        assert client.is_model_ready("late", headers=headers)
        right(infer())

    def packed(algorithm: str, count: int) -> None:
        options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        right(infer(inputs=inputs(count), **options), count)

    def text() -> None:
        right(infer(inputs=inputs(binary=False)))

    run(
        {
            "live": lambda: _true(client.is_server_live()),
            "ready": lambda: _true(client.is_server_ready()),
            "model ready": lambda: _true(client.is_model_ready("late", headers=headers)),
            "version ready": lambda: _true(client.is_model_ready("late", "1", headers=headers)),
            "unknown model not ready": lambda: _true(not client.is_model_ready("none", headers=headers)),
            "metadata and configuration": metadata,
            "infer, all outputs": lambda: whole(infer()),
            "infer, outputs raw": lambda: whole(infer(outputs=outputs(True))),
            "infer, outputs as JSON": lambda: json_out(infer(outputs=outputs(False))),
            "infer, inputs as JSON": text,
            "infer, version, id, parameters": lambda: right(
                infer(model_version="1", request_id="7", priority=1, timeout=1_000_000, parameters={"trace": "on"})
            ),
            "id comes back": lambda: _equal(infer(request_id="7").get_response()["id"], "7"),
            "gzip": lambda: packed("gzip", 100),
            "deflate": lambda: packed("deflate", 100),
            "many at once": many,
            "asyncio": lambda: asyncio.run(asynchronous()),
            "statistics": statistics,
            "repository": repository,
            "unknown model": lambda: fails("404", inputs=None, model_version="7"),
            "missing column": lambda: fails("400", inputs=inputs()[:3]),
            "unknown output": lambda: fails("400", outputs=[client_of.InferRequestedOutput("nothing")]),
        }
    )


def _true(value: object) -> None:
    assert value is True, value


def _equal(value: object, other: object) -> None:
    assert value == other, value


if __name__ == "__main__":
    main()
