"""A BentoML service, run by ``bentoml serve`` with one worker."""

import os

import bentoml
from asked_models import load


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": True})
class Asked:
    def __init__(self) -> None:
        self.models = {name: load(os.environ["KIND"], os.environ["FOLDER"], name) for name in ("linear", "forest")}

    @bentoml.api(route="/predict/linear")
    def linear(self, rows: list[list[float]]) -> list[float]:
        return self.models["linear"].predict(rows)

    @bentoml.api(route="/predict/forest")
    def forest(self, rows: list[list[float]]) -> list[float]:
        return self.models["forest"].predict(rows)
