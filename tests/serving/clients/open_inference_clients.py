"""The clients of the Open Inference Protocol's own group (open-inference-openapi, open-inference-grpc)."""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    import grpc
    import httpx
    from checks import FLIGHTS, SCORE, columns, refused, run, told
    from open_inference.grpc import protocol
    from open_inference.grpc.service import GRPCInferenceServiceStub
    from open_inference.openapi.client import AsyncOpenInferenceClient, OpenInferenceClient
    from open_inference.openapi.errors.not_found_error import NotFoundError
    from open_inference.openapi.types.inference_request import InferenceRequest

    where = told()
    base = f"http://{where['http']}"
    headers = {"Authorization": f"Bearer {where['key']}"}
    metadata = [("authorization", headers["Authorization"])]
    contents = {"BYTES": "bytes_contents", "INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents"}
    client: Any = OpenInferenceClient(base_url=base, httpx_client=httpx.Client(headers=headers))

    def request() -> Any:
        inputs = [
            {"name": name, "shape": [FLIGHTS], "datatype": datatype, "data": values}
            for name, (datatype, values) in columns().items()
        ]
        return InferenceRequest(id="7", inputs=inputs, outputs=[{"name": "score"}])

    def right(response: Any) -> None:
        assert (response.id, response.model_name, response.model_version) == ("7", "late", "1"), response
        (output,) = response.outputs
        assert (output.name, output.shape, output.datatype) == ("score", [FLIGHTS], "FP64")
        assert output.data.__root__ == [SCORE] * FLIGHTS, output

    def metadata_of() -> None:
        assert client.read_server_metadata().name == "skyloom"
        for model in (client.read_model_metadata("late"), client.read_model_version_metadata("late", "1")):
            assert [each.name for each in model.inputs] == list(columns()), model

    def readiness() -> None:
        client.check_server_liveness()
        client.check_server_readiness()
        client.check_model_readiness("late")
        client.check_model_version_readiness("late", "1")
        refused(NotFoundError, lambda: client.check_model_readiness("none"))

    async def asynchronous() -> None:
        async with httpx.AsyncClient(headers=headers) as http:
            right(await AsyncOpenInferenceClient(base_url=base, httpx_client=http).model_infer("late", request=request()))

    def remote() -> None:
        with grpc.insecure_channel(where["grpc"]) as channel:
            stub = GRPCInferenceServiceStub(channel)
            assert stub.ServerLive(protocol.ServerLiveRequest()).live
            assert stub.ServerReady(protocol.ServerReadyRequest()).ready
            assert stub.ModelReady(protocol.ModelReadyRequest(name="late"), metadata=metadata).ready
            assert stub.ServerMetadata(protocol.ServerMetadataRequest(), metadata=metadata).name == "skyloom"
            model = stub.ModelMetadata(protocol.ModelMetadataRequest(name="late"), metadata=metadata)
            assert [each.name for each in model.inputs] == list(columns()), model
            assert not model.properties, model
            asked = protocol.ModelInferRequest(model_name="late", id="7")
            for name, (datatype, values) in columns().items():
                tensor = asked.inputs.add(name=name, datatype=datatype, shape=[FLIGHTS])
                typed = [value.encode() for value in values] if datatype == "BYTES" else values
                getattr(tensor.contents, contents[datatype]).extend(typed)
            asked.outputs.add(name="score")
            answer = stub.ModelInfer(asked, metadata=metadata)
            assert list(answer.outputs[0].contents.fp64_contents) == [SCORE] * FLIGHTS, answer
            assert (answer.id, answer.model_version) == ("7", "1"), answer

    run(
        {
            "REST: readiness": readiness,
            "REST: metadata": metadata_of,
            "REST: infer": lambda: right(client.model_infer("late", request=request())),
            "REST: infer a version": lambda: right(client.model_version_infer("late", "1", request=request())),
            "REST: asyncio": lambda: asyncio.run(asynchronous()),
            "gRPC: all six calls": remote,
        }
    )


if __name__ == "__main__":
    main()
