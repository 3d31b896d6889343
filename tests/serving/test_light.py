"""What a serving process does not load: it starts in a moment and stays small."""

import subprocess
import sys

HEAVY = [
    "adbc_driver_manager",
    "boto3",
    "confluent_kafka",
    "deltalake",
    "duckdb",
    "grpc",
    "lightgbm",
    "onnx",
    "opentelemetry",
    "pandas",
    "pyarrow",
    "redis",
]


def test_serving_loads_nothing_that_it_does_not_serve_with() -> None:
    heavy = [*HEAVY, "skl2onnx", "sklearn", "sqlalchemy", "starlette", "typer"]
    modules = "skyloom.serving.worker, skyloom.runtime.serve, skyloom.serving.aws_lambda.function"
    code = f"import sys, {modules}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split() == []
