"""KServe's model server, HTTP and gRPC: ``python kserve_server.py HTTP_PORT FOLDER KIND GRPC_PORT``."""

import sys

import numpy as np
from asked_models import load
from kserve import InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import get_predict_response

port, folder, kind, grpc_port = sys.argv[1:]


class Asked(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.model = load(kind, folder, name)
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        rows = payload.inputs[0].as_numpy()
        return get_predict_response(payload, np.asarray(self.model.predict(rows)), self.name)


if __name__ == "__main__":
    server = ModelServer(
        http_port=int(port), grpc_port=int(grpc_port), workers=1, enable_docs_url=False, access_log_format=None
    )
    server.start([Asked("linear"), Asked("forest")])
