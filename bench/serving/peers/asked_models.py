"""The two models as a peer loads them. Needs NumPy, and scikit-learn or ONNX Runtime."""

from pathlib import Path

import numpy as np

NAMES = [f"x{at}" for at in range(10)]


class Sklearn:
    """The estimator, asked for a list of rows."""

    def __init__(self, folder: str, model: str) -> None:
        import joblib

        self._model = joblib.load(Path(folder) / f"{model}.joblib")

    def predict(self, rows: list[list[float]]) -> list[float]:
        return self._model.predict(np.asarray(rows, np.float32)).tolist()


class Onnx:
    """The ONNX file, asked for a list of rows."""

    def __init__(self, folder: str, model: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(Path(folder) / f"{model}.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, rows: list[list[float]]) -> list[float]:
        array = np.asarray(rows, np.float32)
        feed = {name: array[:, at : at + 1] for at, name in enumerate(NAMES)}
        return self._session.run(None, feed)[0].reshape(-1).tolist()


def load(kind: str, folder: str, model: str) -> Sklearn | Onnx:
    return {"sklearn": Sklearn, "onnx": Onnx}[kind](folder, model)
