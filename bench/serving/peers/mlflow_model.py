"""Writes a model where ``mlflow models serve`` finds it: ``python mlflow_model.py FOLDER KIND MODEL TARGET``."""

import sys
from pathlib import Path

import mlflow
import numpy as np
from asked_models import NAMES, Onnx

folder, kind, model, target = sys.argv[1:]


class Served(mlflow.pyfunc.PythonModel):
    """ONNX Runtime behind MLflow's Python function."""

    def load_context(self, context) -> None:
        self.model = Onnx(str(Path(context.artifacts["onnx"]).parent), model)

    def predict(self, context, model_input, params=None):
        return np.asarray(self.model.predict(model_input[NAMES].to_numpy()))


if kind == "sklearn":
    import joblib

    estimator = joblib.load(Path(folder) / f"{model}.joblib")
    mlflow.sklearn.save_model(estimator, target, pip_requirements=[], serialization_format="cloudpickle")
else:
    code = [str(Path(__file__).parent / "asked_models.py")]
    artifacts = {"onnx": str(Path(folder) / f"{model}.onnx")}
    mlflow.pyfunc.save_model(target, python_model=Served(), artifacts=artifacts, code_paths=code, pip_requirements=[])
