"""What the command line does, as functions for a notebook: nothing is loaded before one of them is called.

Each takes a declared model or its name, and the project's ``directory`` (the present one when not given), where the
declarations must have been applied.

>>> import tempfile
>>> dataset("late_arrival", tempfile.mkdtemp())
Traceback (most recent call last):
...
skyloom.kernel.errors.NotFound: nothing was applied here yet
  tried: the project's recorded state
  next:  skyloom apply
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from skyloom.platform import Platform
    from skyloom.runtime.training import Done
    from skyloom.spec.model import Model

    Named = Model[..., Any] | str


def train(model: "Named", directory: str | Path | None = None, **parameters: float | int | str | bool) -> "Done":
    """Train a version, as ``skyloom train`` does; ``parameters`` are those of the training function.

    What comes back has the ``version`` with its gates' results, the ``run``, and in ``trained`` the metrics and the card. A
    version that its gates refuse is registered and does not serve. The function is the one in the project's file.
    """
    from skyloom.runtime.state import actor
    from skyloom.runtime.training import Request, train_model

    platform = _platform(directory)
    return train_model(platform, _name(platform, model), Request(dict(parameters)), actor=actor())


def dataset(model: "Named", directory: str | Path | None = None, *, history: str | None = None) -> "pd.DataFrame":
    """The training set of a model as it is now, one row for each mature, labelled request, in order of time.

    Columns: ``key``, ``t`` (the request's moment, UTC), those of X as the training function gets them (numbers float32 with
    NaN for what is missing, strings ``category``), ``label`` (float64). ``history`` is what requests see, as declared when
    not given: ``as_available``, ``as_served`` or ``as_event``. It is stored as a version of the lake's table
    ``training/MODEL``.
    """
    from skyloom.features.offline.dataset import build
    from skyloom.runtime.ownership import settle
    from skyloom.runtime.state import applied, model_of
    from skyloom.training.frame import categories_of, frame_of, signature_of

    platform = _platform(directory)
    definition, project = model_of(platform, _name(platform, model)), applied(platform.metadata).project
    settle(platform, project)
    now_ms = platform.clock.now_ms()
    table = build(definition, project, platform.lake, platform.online, now_ms=now_ms, mode=history).table
    signature = signature_of(definition.inputs, definition.task)
    frame = frame_of(table, signature, categories_of(table, signature))
    for place, name in enumerate(("key", "t")):
        frame.insert(place, name, table.column(name).to_pandas())
    frame["label"] = table.column("label").to_numpy()
    return frame


def predict(model: "Named", rows: Any, directory: str | Path | None = None) -> "pd.DataFrame":
    """The champion's predictions for requests, each with its features as of its own moment.

    ``rows`` is a DataFrame, or a list of dictionaries, with the columns of the model's requests. One row comes back for
    each, with its index: ``key``, ``score``, ``label`` (of a binary model) and ``error`` (why a row has no score). Nothing
    is logged: predictions with receipts come from serving.
    """
    import pandas as pd
    import pyarrow as pa

    from skyloom.ingest.contract import check_values, conform
    from skyloom.ingest.requests import RequestBatch
    from skyloom.runtime.scoring import Scoring

    platform = _platform(directory)
    scoring = Scoring(platform, _name(platform, model))
    frame = pd.DataFrame(rows)
    requests = conform(pa.Table.from_pandas(frame, preserve_index=False), scoring.source, "rows")
    answers = scoring.score(RequestBatch(requests, check_values(requests, scoring.source.schema)))
    return answers.to_pandas().set_index(frame.index)


def _platform(directory: str | Path | None) -> "Platform":
    from skyloom.platform import open_platform

    return open_platform(None if directory is None else Path(directory))


def _name(platform: "Platform", model: "Named") -> str:
    """The applied name of a model. Raises `NotFound` with the nearest names."""
    from skyloom.runtime.state import model_of

    named: Any = model  # a Model has the __name__ of its function
    return model_of(platform, named if isinstance(named, str) else named.__name__).name
