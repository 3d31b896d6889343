"""What is kept of a model's predictions."""

from collections.abc import Sequence

from skyloom.kernel.errors import DeclarationError

POLICIES = ("drop", "refuse")
LEAST = 0.0001


class Logbook:
    """What is kept of a model's predictions. Without one, all of everything.

    ``sample`` keeps the receipts of a share of the requests (0.0001 to 1), chosen by a hash of the request's key: the same
    for champion, canary and shadow, and for a request that is asked again. What is not kept is no evidence for a rollout,
    is joined with no label and can be in no training set.

    Of the columns ``redact`` a receipt keeps nothing, of those of ``hashed`` (texts) a keyed hash: equal texts of one column
    have equal hashes, and nobody without the project's key finds the text. The same goes for inputs of the model that follow
    from them. What such a receipt was made of cannot be computed again, and it can be in no training set.

    ``when_full`` says what happens when receipts can be kept nowhere: ``"drop"`` (they are dropped and counted) or
    ``"refuse"`` (no prediction is made without a receipt; 503). Raises `DeclarationError`.

    >>> Logbook(sample=0.1, redact=["note"], hashed=["email"]).redact
    ('note',)
    """

    def __init__(
        self,
        *,
        sample: float = 1.0,
        redact: Sequence[str] = (),
        hashed: Sequence[str] = (),
        when_full: str = POLICIES[0],
    ) -> None:
        if not LEAST <= sample <= 1:
            raise DeclarationError(f"sample={sample!r} is no share", fix=f"give {LEAST} to 1: 1 keeps every receipt")
        if when_full not in POLICIES:
            raise DeclarationError(f"when_full={when_full!r} is no policy", fix='say when_full="drop" or when_full="refuse"')
        for name, columns in (("redact", redact), ("hashed", hashed)):
            if isinstance(columns, str):
                raise DeclarationError(f"{name}={columns!r} is no list of columns", fix=f"say {name}=[{columns!r}]")
        both = sorted({*redact} & {*hashed})
        if both:
            raise DeclarationError(f"{', '.join(both)} cannot be both redacted and hashed", fix="name each column once")
        self.sample, self.when_full = float(sample), when_full
        self.redact, self.hashed = tuple(redact), tuple(hashed)
