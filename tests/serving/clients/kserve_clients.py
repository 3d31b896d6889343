"""kserve's REST and gRPC clients, as their users call them."""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    import grpc
    import numpy as np
    from checks import FLIGHTS, SCORE, columns, refused_later, run, told
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
    from kserve.inference_client import RESTConfig
    from kserve.protocol.infer_type import RequestedOutput

    where = told()
    base = f"http://{where['http']}"
    headers = {"Authorization": f"Bearer {where['key']}"}
    metadata = [("authorization", headers["Authorization"])]
    dtypes = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64, "BOOL": bool}

    def request(binary: bool, **more: Any) -> Any:
        made = []
        for name, (datatype, values) in columns().items():
            tensor = InferInput(name=name, shape=[FLIGHTS], datatype=datatype)
            tensor.set_data_from_numpy(np.array(values, dtypes[datatype]), binary_data=binary)
            made.append(tensor)
        return InferRequest(model_name="late", infer_inputs=made, **more)

    def right(response: Any) -> None:
        found = {each.name: each for each in response.outputs}
        assert found["score"].as_numpy().tolist() == [SCORE] * FLIGHTS, response
        assert response.model_name == "late"

    def rest(use: Any) -> Any:
        async def used() -> None:
            async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
                await use(client)

        return lambda: asyncio.run(used())

    def remote(use: Any) -> Any:
        async def used() -> None:
            async with InferenceGRPCClient(where["grpc"], retries=0) as client:
                await use(client)

        return lambda: asyncio.run(used())

    async def rest_health(client: Any) -> None:
        assert await client.is_server_live(base) is True
        assert await client.is_server_ready(base) is True
        assert await client.is_model_ready(base, "late", headers=headers) is True

    async def rest_infer(client: Any) -> None:
        for binary in (False, True):
            right(await client.infer(base, request(binary), model_name="late", headers=dict(headers)))
        all_raw = request(True, parameters={"binary_data_output": True}, request_id="7")
        response = await client.infer(base, all_raw, model_name="late", headers=dict(headers))
        right(response)
        assert response.id == "7"
        one = request(True, request_outputs=[RequestedOutput("score", {"binary_data": True})])
        right(await client.infer(base, one, model_name="late", headers=dict(headers)))

    async def rest_error(client: Any) -> None:
        import httpx

        wrong = request(True)
        wrong.inputs = wrong.inputs[:2]
        error = await refused_later(
            httpx.HTTPStatusError, client.infer(base, wrong, model_name="late", headers=dict(headers))
        )
        assert error.response.status_code == 400, error
        assert "missing" in str(error), error

    async def grpc_health(client: Any) -> None:
        assert await client.is_server_live() is True
        assert await client.is_server_ready() is True
        assert await client.is_model_ready("late", headers=metadata) is True
        assert await client.is_model_ready("none", headers=metadata) is False

    async def grpc_infer(client: Any) -> None:
        for binary in (False, True):
            right(await client.infer(request(binary), headers=metadata))

    async def grpc_error(client: Any) -> None:
        for headers_of, code in ((metadata, grpc.StatusCode.NOT_FOUND), ((), grpc.StatusCode.UNAUTHENTICATED)):
            wrong = request(True)
            wrong.model_name = "none"
            error = await refused_later(grpc.RpcError, client.infer(wrong, headers=headers_of))
            assert error.code() == code, error

    def repository() -> None:
        from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
        from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

        with grpc.insecure_channel(where["grpc"]) as channel:
            stub = GRPCInferenceServiceStub(channel)
            gone = stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="late"), metadata=metadata)
            assert (gone.model_name, gone.isUnloaded) == ("late", True), gone
            back = stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="late"), metadata=metadata)
            assert (back.model_name, back.isLoaded) == ("late", True), back

    run(
        {
            "REST: health": rest(rest_health),
            "REST: infer": rest(rest_infer),
            "REST: error": rest(rest_error),
            "gRPC: health": remote(grpc_health),
            "gRPC: infer": remote(grpc_infer),
            "gRPC: error": remote(grpc_error),
            "gRPC: repository": repository,
        }
    )


if __name__ == "__main__":
    main()
