"""tritonclient over gRPC, as its users call it."""

import asyncio
import queue
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    import numpy as np
    import tritonclient.grpc as client_of
    import tritonclient.grpc.aio as aio
    from checks import FLIGHTS, SCORE, columns, refused, run, told
    from tritonclient.utils import InferenceServerException

    where = told()
    headers = {"authorization": f"Bearer {where['key']}"}
    client: Any = client_of.InferenceServerClient(where["grpc"])
    dtypes = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64, "BOOL": bool}

    def inputs(count: int = FLIGHTS) -> list[Any]:
        made = []
        for name, (datatype, values) in columns(count).items():
            tensor = client_of.InferInput(name, [count], datatype)
            tensor.set_data_from_numpy(np.array(values, dtypes[datatype]))
            made.append(tensor)
        return made

    def right(result: Any) -> None:
        assert result.as_numpy("score").tolist() == [SCORE] * FLIGHTS, result.as_numpy("score")
        assert result.as_numpy("label").tolist() == [False] * FLIGHTS
        assert all(each.startswith(b"p_") for each in result.as_numpy("receipt"))

    def infer(**options: Any) -> Any:
        return client.infer("late", options.pop("inputs", None) or inputs(), headers=headers, **options)

    def fails(status: str, call: Any) -> None:
        error = refused(InferenceServerException, call)
        assert error.status() == f"StatusCode.{status}", (error.status(), error.message())

    def metadata() -> None:
        assert client.get_server_metadata(headers=headers).name == "skyloom"
        for version in ("", "1"):
            model = client.get_model_metadata("late", version, headers=headers)
            assert [each.name for each in model.inputs] == list(columns()), model
            config = client.get_model_config("late", version, headers=headers).config
            assert [each.name for each in config.input] == list(columns()), config

    def called_back() -> None:
        answers: queue.Queue[Any] = queue.Queue()
        for _ in range(4):
            client.async_infer("late", inputs(), lambda result, error: answers.put((result, error)), headers=headers)
        for _ in range(4):
            result, error = answers.get(timeout=20)
            assert error is None, error
            right(result)

    def stream() -> None:
        answers: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for sent in (inputs(), inputs()[:2], inputs()):
            client.async_stream_infer("late", sent, request_id=str(len(sent)))
        results = [answers.get(timeout=20) for _ in range(3)]
        client.stop_stream()
        assert [error is None for _, error in results] == [True, False, True], results
        assert "missing" in results[1][1].message(), results[1][1]
        right(results[0][0])
        right(results[2][0])
        assert results[2][0].get_response().id == str(len(columns()))

    async def asynchronous() -> None:
        async with aio.InferenceServerClient(where["grpc"]) as other:
            assert await other.is_server_ready()
            for done in await asyncio.gather(*(other.infer("late", inputs(), headers=headers) for _ in range(4))):
                right(done)

            async def requests() -> Any:
                for _ in range(3):
                    yield {"model_name": "late", "inputs": inputs()}

            seen = 0
            async for result, error in other.stream_infer(requests(), headers=headers):
                assert error is None, error
                right(result)
                seen += 1
            assert seen == 3

    def statistics() -> None:
        before = client.get_inference_statistics("late", headers=headers).model_stats[0].inference_count
        infer()
        assert client.get_inference_statistics(headers=headers).model_stats[0].inference_count == before + FLIGHTS

    def repository() -> None:
        assert client.get_model_repository_index(headers=headers).models[0].state == "READY"
        client.unload_model("late", headers=headers)
        assert not client.is_model_ready("late", headers=headers)
        fails("UNAVAILABLE", infer)
        client.load_model("late", headers=headers)
        right(infer())

    def long_message() -> None:
        count = 60_000  # more than the 4 MB that gRPC allows by itself
        result = client.infer("late", inputs(count), headers=headers, outputs=[client_of.InferRequestedOutput("score")])
        assert result.as_numpy("score").tolist() == [SCORE] * count

    run(
        {
            "live": lambda: _true(client.is_server_live()),
            "ready": lambda: _true(client.is_server_ready()),
            "model ready": lambda: _true(client.is_model_ready("late", headers=headers)),
            "unknown model not ready": lambda: _true(not client.is_model_ready("none", headers=headers)),
            "metadata and configuration": metadata,
            "infer, all outputs": lambda: right(infer()),
            "infer, outputs named": lambda: right(
                infer(outputs=[client_of.InferRequestedOutput(name) for name in ("receipt", "score", "label")])
            ),
            "infer, version, id, parameters, deadline": lambda: right(
                infer(model_version="1", request_id="7", priority=1, client_timeout=20.0, parameters={"a": 1.5, "b": True})
            ),
            "id comes back": lambda: _equal(infer(request_id="7").get_response().id, "7"),
            "gzip": lambda: right(infer(compression_algorithm="gzip")),
            "deflate": lambda: right(infer(compression_algorithm="deflate")),
            "called back": called_back,
            "stream": stream,
            "asyncio": lambda: asyncio.run(asynchronous()),
            "statistics": statistics,
            "repository": repository,
            "a long message": long_message,
            "unknown model": lambda: fails("NOT_FOUND", lambda: client.infer("none", inputs(), headers=headers)),
            "unknown version": lambda: fails("NOT_FOUND", lambda: infer(model_version="7")),
            "missing column": lambda: fails("INVALID_ARGUMENT", lambda: infer(inputs=inputs()[:3])),
            "no key": lambda: fails("UNAUTHENTICATED", lambda: client.infer("late", inputs())),
        }
    )


def _true(value: object) -> None:
    assert value is True, value


def _equal(value: object, other: object) -> None:
    assert value == other, value


if __name__ == "__main__":
    main()
