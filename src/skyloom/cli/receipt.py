"""``skyloom receipt`` and ``skyloom replay``: what a prediction was made of, and the same number again."""

from typing import Annotated

import typer

from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out, moment
from skyloom.kernel.errors import SkyloomError

IdArgument = Annotated[str, typer.Argument(help="The id that the answer to the prediction carried.")]


def receipt(id: IdArgument, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Show what a prediction was made of: inputs, version, run, data, commit."""
    from skyloom.platform import open_platform
    from skyloom.runtime.receipts import provenance

    out = Out(json=json)
    found = provenance(open_platform(profile=profile), id)
    made = found.receipt
    out.fields(
        {
            "prediction": made.id,
            "model": f"{made.model} v{made.version} ({made.arm})",
            "score": repr(made.score),
            "asked": moment(made.at_ms),
            "release": made.release,
            "saw": ", ".join(f"{source} below offset {offset:,}" for source, offset in made.as_of.items()),
            "run": found.run.id,
            "data": f"{found.data.table} version {found.data.version}" if found.data else "none",
            "commit": found.commit or "none (not under git)",
            "latency": f"{made.latency_ms:.3f} ms",
        }
    )
    out.table(["input", "value"], [[name, repr(value)] for name, value in found.inputs.items()])
    out.document(found)


def replay(id: IdArgument, profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Compute a prediction again, from the lake and the package, and compare."""
    from skyloom.platform import open_platform
    from skyloom.runtime.receipts import replay as compute_again

    out = Out(json=json)
    again = compute_again(open_platform(profile=profile), id)
    out.fields({"served": repr(again.served), "replayed": repr(again.replayed)})
    out.document(again)
    if not (again.score_equal and again.features_equal):
        changed = ", ".join(f"{name}: {was!r} served, {now!r} now" for name, (was, now) in again.differences.items())
        raise SkyloomError("the prediction is not the same again", tried=changed, fix=f"skyloom receipt {id}")
    out.line("the same features and the same number, bit for bit")
