"""A training told step by step, and a training function that is broken on purpose."""

from collections.abc import Callable
from typing import Any

from skyloom.features.offline.dataset import Dataset
from skyloom.kernel.records.registry import GateResult
from skyloom.platform import Platform
from skyloom.registry.champion import champion_of
from skyloom.runtime.demo.teller import Step, Teller
from skyloom.runtime.state import actor
from skyloom.runtime.training import Done, Request, train_model
from skyloom.training.train import Trained

MODEL = "late_arrival"
_SHUFFLE = (1, 4, 5, 0, 2, 6, 3, 8, 7)
"""Which numeric column stands in the place of which: of sixty shuffles the one that does most harm on April."""


class _Told:
    """Tells the stages of one training as steps."""

    def __init__(self, tell: Teller, which: str) -> None:
        self._tell, self._which = tell, which
        self._step = tell.begin(f"training set of {which}: the point-in-time join of requests and features")
        self._packaging = 0.0

    def __call__(self, stage: str, result: Any) -> None:
        {"dataset": self._dataset, "trained": self._trained, "packaged": self._packaged, "gated": self._gated}.get(
            stage, lambda result: None
        )(result)

    def _next(self, title: str, *, earlier: float = 0.0, later: float = 0.0) -> None:
        self._tell.end(self._step, earlier=earlier, later=later)
        self._step = self._tell.begin(title)

    def _dataset(self, dataset: Dataset) -> None:
        figure, step = self._tell.figure, self._step
        rows, labels = len(dataset.table), dataset.table.column("label")
        figure(step, "rows", rows, f"of {dataset.requests:,} requests")
        figure(step, "never labelled", dataset.unlabelled, "flights that never landed: no negatives")
        figure(step, "too young to judge", dataset.immature)
        figure(step, "label coverage", rows / max(1, rows + dataset.unlabelled))
        figure(step, "label rate", float(labels.to_numpy().mean()))
        if dataset.version:
            figure(step, "data version", f"{dataset.version.table} {dataset.version.version}", dataset.version.digest[:16])
        self._next(f"train {self._which}: a time-ordered split, judged on the later part")

    def _trained(self, trained: Trained) -> None:
        tell, step, evaluation = self._tell, self._step, trained.card.evaluation
        tell.figure(step, "rows fitted / judged", f"{trained.split.train_rows:,} / {trained.split.holdout_rows:,}")
        poorer = trained.card.without_windows
        columns = ["roc_auc", "average_precision", "brier", "ece"]
        rows = [("with windowed features", evaluation.metrics), ("base rate alone", evaluation.base)]
        if poorer is not None:
            rows.insert(1, ("without them", poorer.metrics))
        shown = [[name, *(_number(metrics.get(column)) for column in columns)] for name, metrics in rows]
        tell.table(["on the later part", *columns], shown)
        bins = [[f"{b.mean_score:.3f}", f"{b.rate:.3f}", f"{b.rows:,}"] for b in evaluation.calibration[::3]]
        tell.table(["mean score", "rate of late", "rows"], bins)
        self._packaging = trained.packaging_seconds
        self._proof = trained.proof
        self._files = {name: len(content) for name, content in trained.files.items()}
        self._next(f"package {self._which}: ONNX, signature, card, digests", later=self._packaging)

    def _packaged(self, digest: str) -> None:
        figure, step, proof = self._tell.figure, self._step, self._proof
        figure(step, "digest", digest[:16])
        figure(step, "files", ", ".join(f"{name} {size:,} B" for name, size in sorted(self._files.items())))
        figure(step, "compared row by row", proof.rows)
        figure(step, "largest difference", f"{proof.max_difference:.2g}", f"{proof.flips} labels differ")
        self._next(f"gate, register, release {self._which}", earlier=self._packaging)

    def _gated(self, gates: tuple[GateResult, ...]) -> None:
        for gate in gates:
            self._tell.paragraph(f"{'passed' if gate.passed else 'FAILED'}  {gate.gate}: {gate.reason}")

    def close(self, done: Done, state: str) -> Step:
        """The end of the last step."""
        if done.version.override:
            self._tell.figure(self._step, "overridden by", done.version.override.by, f"({done.version.override.reason})")
        self._tell.figure(self._step, "registered", f"{MODEL} v{done.version.number}", state)
        self._tell.end(self._step)
        return self._step


def train_aloud(platform: Platform, tell: Teller, request: Request, which: str) -> Done:
    """Train a version, telling its four steps."""
    told = _Told(tell, which)
    done = train_model(platform, MODEL, request, actor=actor(), on_stage=told)
    told.close(done, _fate(platform, done))
    return done


def _fate(platform: Platform, done: Done) -> str:
    if not done.version.may_serve:
        return "does not serve: its gates refused it"
    champion = champion_of(platform.metadata, MODEL)
    crowned = champion is not None and champion.version == done.version.number
    return "is champion: the first that passed" if crowned else "begins its rollout"


def shuffled_columns(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that fits on numeric columns that stand in each other's place, as after a careless join."""

    def shuffled(X: Any, y: Any, **parameters: Any) -> Any:
        numeric = [name for name in X.columns if X[name].dtype.kind == "f"]
        moved = [numeric[place] for place in _SHUFFLE]
        wrong = X.copy()
        for name, other in zip(numeric, moved, strict=True):
            wrong[name] = X[other]
        return function(wrong, y, **parameters)

    return shuffled


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
