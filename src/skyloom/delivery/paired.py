"""The sequential test of paired labels: the champion's and the challenger's loss on the same requests.

While a rollout lasts, what the champion answers is copied to the challenger, unseen. Once the label is there, both
answers have a loss in [0, 1]; the first pair of each unit is one bet. With the losses a (champion) and b (challenger):

* Harm: against E[b] <= E[a], the capital grows by ``1 + bet * (b - a)``.
* Safety: against E[b] >= 1.1 E[a], it grows by ``1 + bet * (1.1 a - b) / 1.1``.

Each capital is a nonnegative martingale or less where its hypothesis holds, so that it ever reaches 1/a with a chance of at
most a, however often one looks (betting on means: Waudby-Smith and Ramdas 2024; Ville's inequality). Both are means
over the sizes ``BETS``. Both answer the same rows, so that what they share (the day's weather, say) cancels.
"""

import math
from itertools import repeat

from skyloom.delivery.canary import SAFE_EVIDENCE, is_broken, log_mean
from skyloom.kernel.records.prediction import Outcome
from skyloom.kernel.records.release import Pairs

LABEL_LOSS = "label_loss"
MARGIN = 1.1
"""How many times the champion's loss is too much."""

BETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
WAITING = 20_000
"""How many answers may wait for their counterpart (copies may be dropped); beyond it the oldest is forgotten."""


class PairMemory:
    """Which answers wait for their counterpart, and which units have spoken: rebuilt from the outcomes after a restart."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int, bool], Outcome] = {}
        self._spoken: set[str] = set()

    def match(self, outcome: Outcome, challenger: bool) -> tuple[Outcome, Outcome] | None:
        """The labelled answers of champion and challenger to one request, once both are there and the unit is new.

        An answer that is broken makes no pair: the guard of errors speaks of it.
        """
        if outcome.unit in self._spoken or outcome.label is None or is_broken(outcome):
            return None
        other = self._waiting.pop((outcome.unit, outcome.at_ms, not challenger), None)
        if other is None:
            self._waiting[outcome.unit, outcome.at_ms, challenger] = outcome
            if len(self._waiting) > WAITING:
                del self._waiting[next(iter(self._waiting))]
            return None
        self._spoken.add(outcome.unit)
        return (other, outcome) if challenger else (outcome, other)


def losses(champion: Outcome, challenger: Outcome, task: str) -> tuple[float, float]:
    """The two losses, each in [0, 1]: squared error of the probability (binary); the part that each has in the sum of both
    absolute errors (regression).

    >>> half = Outcome("labelled", "r", "m", 1, "champion", "u", 0, 0.5, 1.0, label=1.0)
    >>> none = Outcome("labelled", "s", "m", 2, "shadow", "u", 0, 0.0, 1.0, label=1.0)
    >>> losses(half, none, "binary"), losses(none, none, "regression")
    ((0.25, 1.0), (0.5, 0.5))
    """
    errors = _error(champion, task), _error(challenger, task)
    if task == "binary":
        return min(1.0, errors[0]) ** 2, min(1.0, errors[1]) ** 2
    both = errors[0] + errors[1]
    return (errors[0] / both, errors[1] / both) if 0 < both < math.inf else (0.0, 0.0)


def _error(outcome: Outcome, task: str) -> float:
    assert outcome.score is not None
    assert outcome.label is not None
    label = float(outcome.label > 0) if task == "binary" else outcome.label
    return abs(outcome.score - label)


def add_pair(pairs: Pairs, champion: float, challenger: float) -> Pairs:
    """The evidence after one more pair of losses."""
    worse = challenger - champion
    better = champion - challenger / MARGIN
    return Pairs(
        count=pairs.count + 1,
        champion_loss=pairs.champion_loss + champion,
        challenger_loss=pairs.challenger_loss + challenger,
        log_harm=tuple(map(_bet, pairs.log_harm or repeat(0.0), BETS, repeat(worse))),
        log_safe=tuple(map(_bet, pairs.log_safe or repeat(0.0), BETS, repeat(better))),
    )


def _bet(capital: float, bet: float, outcome: float) -> float:
    return capital + math.log1p(bet * outcome)


def pairs_harm(pairs: Pairs) -> float:
    """The logarithm of the evidence that the challenger's labels are worse.

    >>> pairs_harm(Pairs())
    0.0
    """
    return log_mean(pairs.log_harm) if pairs.log_harm else 0.0


def pairs_safety(pairs: Pairs) -> float:
    """The logarithm of the evidence that the challenger's loss is below 1.1 times the champion's."""
    return log_mean(pairs.log_safe) if pairs.log_safe else 0.0


def pairs_safe(pairs: Pairs) -> bool:
    """Whether the labels let the challenger be promoted."""
    return pairs_safety(pairs) >= math.log(SAFE_EVIDENCE)
