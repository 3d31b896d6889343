"""FastAPI on Uvicorn with uvloop and httptools, one worker, no access log."""

import sys

import uvicorn
from asked_models import load
from fastapi import FastAPI
from pydantic import BaseModel

port, folder, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
models = {name: load(kind, folder, name) for name in ("linear", "forest")}
app = FastAPI()


class Row(BaseModel):
    x0: float
    x1: float
    x2: float
    x3: float
    x4: float
    x5: float
    x6: float
    x7: float
    x8: float
    x9: float


class Answer(BaseModel):
    prediction: float


@app.post("/predict/{model}")
async def predict(model: str, row: Row) -> Answer:
    return Answer(prediction=models[model].predict([list(row.model_dump().values())])[0])


uvicorn.run(app, host="127.0.0.1", port=port, access_log=False)
