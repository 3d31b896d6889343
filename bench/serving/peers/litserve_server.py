"""LitServe, one API server and one worker a model."""

import sys

import litserve as ls
from asked_models import NAMES, load

port, folder, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Api(ls.LitAPI):
    def __init__(self, name: str) -> None:
        super().__init__(api_path=f"/predict/{name}")
        self.name = name

    def setup(self, device: str) -> None:
        self.model = load(kind, folder, self.name)

    def decode_request(self, request: dict[str, float]) -> list[float]:
        return [request[name] for name in NAMES]

    def predict(self, x: list[float]) -> float:
        return self.model.predict([x])[0]

    def encode_response(self, output: float) -> dict[str, float]:
        return {"prediction": output}


if __name__ == "__main__":
    server = ls.LitServer([Api("linear"), Api("forest")], accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False)
