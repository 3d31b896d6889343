"""From a training table and a function to a proved package and all that gates want to know. No store is touched."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skyloom.kernel.errors import PackageError
from skyloom.kernel.records.definitions import ModelDef
from skyloom.kernel.records.registry import DataVersion, Split
from skyloom.package.machine import machine
from skyloom.package.scorer import Scorer, Value
from skyloom.package.signature import Signature
from skyloom.package.store import BOM, CARD, GOLDEN, MODEL, SIGNATURE, Golden
from skyloom.package.tables import score_table, texts
from skyloom.training.card import Ablation, Card, Feature, bill_of_materials, importances
from skyloom.training.convert import convert
from skyloom.training.evaluate import Evaluation, evaluate
from skyloom.training.fit import Parameter, fit
from skyloom.training.frame import categories_of, frame_of, labelled, labels_of, signature_of, times_ms
from skyloom.training.metrics import measure
from skyloom.training.predict import columns_of_frame, predict
from skyloom.training.prove import Proof, prove
from skyloom.training.search import Found, Sample, search
from skyloom.training.split import check_labels, split_rows

THRESHOLD = 0.5
GOLDEN_ROWS = 32
LATENCY_CALLS = 500


class TrainOptions(msgspec.Struct, frozen=True):
    """``parameters`` override the function's own; ``after_ms`` is the newest moment that the champion's data holds."""

    parameters: dict[str, Parameter] = {}
    after_ms: int | None = None
    search: bool = True
    ablation: bool = True
    seed: int = 0
    data: DataVersion | None = None
    commit: str | None = None
    created_ms: int = 0


@dataclass(frozen=True)
class Holdout:
    """What the version is judged on. ``labels`` and ``scores`` are float64 [rows], ``latency_ms`` one-row calls."""

    table: pa.Table
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]
    slices: dict[str, list[str]]
    latency_ms: NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """A packaged model, not yet stored. ``files`` go to `skyloom.package.save`."""

    files: dict[str, bytes]
    card: Card
    parameters: dict[str, Parameter]
    metrics: dict[str, float]
    split: Split
    proof: Proof
    threshold: float
    holdout: Holdout
    packaging_seconds: float
    """How long the conversion and its proof took."""


@dataclass(frozen=True)
class _Sides:
    """X, y and the rows of the training part, and those of the holdout."""

    train: Sample
    table: pa.Table
    y: Any
    X: Any


def train(table: pa.Table, model: ModelDef, function: Callable[..., Any], options: TrainOptions | None = None) -> Trained:
    """Fit ``function`` on the older rows of ``table``, package what it returns, prove that, judge it on the newer rows.

    ``table`` has the model's inputs by name, ``label`` (null where none has come: such rows are left out) and ``t``.
    Raises `TrainingError` for data or a function that teach nothing, `PackageError` for a model that cannot be packaged.
    """
    options = options or TrainOptions()
    signature = signature_of(model.inputs, model.task)
    rows = labelled(table, model)
    split = split_rows(times_ms(rows), options.after_ms)
    sides = _sides(rows, split, signature)
    found = _search(model, function, sides.train, signature, options)
    parameters = model.parameters | options.parameters | (found.parameters if found else {})
    estimator = fit(function, sides.train.X, sides.train.y, parameters)
    fitted = time.perf_counter()
    onnx = convert(estimator, signature)
    scorer = Scorer(onnx, signature)
    proof = prove(estimator, scorer, sides.train.X, THRESHOLD)
    packaging = time.perf_counter() - fitted
    holdout = _judge(scorer, sides)
    evaluation = evaluate(sides.table, holdout.labels, holdout.scores, signature, float(sides.train.y.mean()))
    ablation = _ablation(model, function, sides, parameters) if options.ablation else None
    card = _card(model, options, (estimator, signature), (parameters, found), (split, evaluation, ablation, proof))
    files = {
        MODEL: onnx,
        SIGNATURE: msgspec.json.encode(signature),
        CARD: msgspec.json.encode(card),
        GOLDEN: msgspec.json.encode(golden_of(scorer, sides.train.X, proof.tolerance)),
        BOM: msgspec.json.encode(bill_of_materials()),
    }
    return Trained(files, card, parameters, evaluation.metrics, split, proof, THRESHOLD, holdout, packaging)


def _sides(rows: pa.Table, split: Split, signature: Signature) -> _Sides:
    """Both sides of the split; their categories are those of the training part, so that newer ones are unknown."""
    older, newer = rows.slice(0, split.train_rows), rows.slice(split.train_rows)
    y = labels_of(rows, signature.task)
    check_labels(y, split, signature.task)
    categories = categories_of(older, signature)
    X = frame_of(older, signature, categories)
    train_y, holdout_y = y.iloc[: split.train_rows], y.iloc[split.train_rows :].reset_index(drop=True)
    return _Sides(Sample(X, train_y, times_ms(older)), newer, holdout_y, frame_of(newer, signature, categories))


def _search(
    model: ModelDef, function: Callable[..., Any], sample: Sample, signature: Signature, options: TrainOptions
) -> Found | None:
    space = model.loop.search
    if space is None or not options.search:
        return None
    first = model.parameters | options.parameters
    metric = model.metrics[0] if model.metrics else ("roc_auc" if model.task == "binary" else "rmse")
    return search(function, sample, signature, space, metric, first=first, seed=options.seed)


def _judge(scorer: Scorer, sides: _Sides) -> Holdout:
    """The package's own answers on the holdout, and how long one row takes."""
    scores = score_table(scorer, sides.table).astype(np.float64)
    unanswered = int((~np.isfinite(scores)).sum())
    if unanswered:
        raise PackageError(
            f"the package has no answer for {unanswered} of {scores.size} rows of the holdout",
            fix="let the model take missing values: LightGBM does, or put an imputer into the Pipeline",
        )
    slices = {
        each.name: [value or "" for value in texts(sides.table[each.name])]
        for each in scorer.signature.inputs
        if each.is_text
    }
    rows = rows_of(sides.X.iloc[:LATENCY_CALLS], scorer.signature)
    return Holdout(sides.table, sides.y.to_numpy(np.float64), scores, slices, latency_of(scorer, rows))


def latency_of(scorer: Scorer, rows: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
    """Milliseconds of processor time of each of 500 calls for one of ``rows``, after one that warms up.

    Processor time is what the version itself needs: whatever else this machine does meanwhile is not its fault.
    """
    scorer.score_row(rows[0])
    spent = np.empty(LATENCY_CALLS)
    for call in range(LATENCY_CALLS):
        started = time.thread_time_ns()
        scorer.score_row(rows[call % len(rows)])
        spent[call] = (time.thread_time_ns() - started) / 1e6
    return spent


def rows_of(X: Any, signature: Signature) -> list[tuple[Value, ...]]:
    """The rows of X as plain values, ``None`` for what is missing."""
    columns = [columns_of_frame(X, signature)[name].tolist() for name in signature.names]
    return [tuple(None if value != value else value for value in row) for row in zip(*columns, strict=True)]  # noqa: PLR0124


def golden_of(scorer: Scorer, X: Any, tolerance: float) -> Golden:
    """Rows spread over X, and one of which nothing is known, with what the package answers here."""
    spread = np.unique(np.linspace(0, len(X) - 1, min(GOLDEN_ROWS, len(X))).astype(int))
    rows = [*rows_of(X.iloc[spread], scorer.signature), (None,) * len(scorer.signature.inputs)]
    answered = [(row, score) for row in rows if np.isfinite(score := scorer.score_row(row))]
    return Golden(tuple(row for row, _ in answered), tuple(score for _, score in answered), machine(), tolerance)


def _ablation(
    model: ModelDef, function: Callable[..., Any], sides: _Sides, parameters: dict[str, Parameter]
) -> Ablation | None:
    """The same function without the windowed features, on the same rows; ``None`` when that is no other model."""
    kept = [each for each in model.inputs if not each.features]
    if not kept or len(kept) == len(model.inputs):
        return None
    signature = signature_of(kept, model.task)
    names = list(signature.names)
    try:
        poorer = fit(function, sides.train.X[names], sides.train.y, parameters)
        return Ablation(measure(sides.y, predict(poorer, sides.X[names], signature), model.task))
    except Exception as error:  # noqa: BLE001  # a comparison that fails (a function may name a column) is no failed training
        return Ablation(error=str(error))


def _card(
    model: ModelDef,
    options: TrainOptions,
    fitted: tuple[Any, Signature],
    chosen: tuple[dict[str, Parameter], Found | None],
    judged: tuple[Split, Evaluation, Ablation | None, Proof],
) -> Card:
    (estimator, signature), (parameters, found), (split, evaluation, ablation, proof) = fitted, chosen, judged
    shares = importances(estimator, signature)
    return Card(
        model=model.name,
        doc=model.doc,
        task=model.task,
        estimator=f"{type(estimator).__module__}.{type(estimator).__qualname__}",
        label=model.label,
        parameters=parameters,
        features=tuple(Feature(i.name, i.type, bool(i.features), shares.get(i.name)) for i in model.inputs),
        split=split,
        data=options.data,
        commit=options.commit,
        created_ms=options.created_ms,
        threshold=THRESHOLD,
        evaluation=evaluation,
        without_windows=ablation,
        proof=proof,
        trials=found.trials if found else (),
    )
