"""Profiles: the set of places that a project runs on."""

import tomllib
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from skyloom.kernel.contracts import DEFAULT, known_contracts
from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.ids import nearest
from skyloom.spec.address import HERE, TERMINATED, Protection, Tls, check_address

FILE = "skyloom.toml"
LOCAL = "local"
CLOCKS = ("system", "data")
LOGS = ("json", "text")
MOST_PARTITIONS = 1024
SHORTEST_PATIENCE_S = 2.0


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the control plane listens, and how it keeps what is said there from others (`skyloom.spec.address`)."""

    port: int = 7070
    address: str = HERE
    tls: Protection = None


class Workers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where serving listens, and with how many processes; ``grpc_port``: where for gRPC, if anywhere.

    ``contracts`` are those that it speaks (`skyloom.kernel.contracts`); ``model`` answers requests that name none;
    ``trust_platform`` opens the contracts of clouds to callers without a key, since the cloud has authenticated them.
    ``logbook_gigabytes`` (10^9 bytes) of receipts wait on this machine while the log cannot be written. ``address`` and
    ``tls``: for whom it listens, and how it keeps what is said there from others (`skyloom.spec.address`).

    ``traces`` is a collector of OpenTelemetry's (OTLP over HTTP) for spans of ``trace_share`` of the requests, and of those
    whose callers record theirs; ``request_ids`` are answered in ``X-Request-Id``; ``logs`` are lines of ``json`` or
    ``text``, one for each request that takes ``log_requests_over`` seconds (none: for no request).
    """

    port: int = 8080
    workers: int = 1
    grpc_port: int | None = None
    contracts: tuple[str, ...] = DEFAULT
    model: str | None = None
    trust_platform: bool = False
    logbook_gigabytes: float = 1.0
    address: str = HERE
    tls: Protection = None
    traces: str | None = None
    trace_share: float = 0.01
    request_ids: bool = False
    logs: str = "json"
    log_requests_over: float | None = None


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many processes share the stream work: partitions of the log are dealt out over them. Who shows no sign of life for
    ``patience`` seconds loses its share to the others."""

    workers: int = 1
    patience: float = 10.0


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the log keeps what is in the lake: ``days``, and at most ``gigabytes`` (10^9 bytes) a topic; 0: no limit."""

    days: float = 7.0
    gigabytes: float = 20.0


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of ``skyloom.toml``. A store without a URL is the embedded one, in the project's ``.skyloom`` folder.

    ``price_per_core_hour`` is in US dollars; ``clock`` is the machine's (``system``) or follows the data (``data``);
    ``partitions`` is how many a source's events are parted into in a log where there are none of it yet (1 to 1024);
    ``retrain`` says whether the models' loops may begin trainings by themselves here.
    """

    metadata: str | None = None
    objects: str | None = None
    lake: str | None = None
    online: str | None = None
    log: str | None = None
    partitions: int = 1
    serving: Workers = Workers()
    api: Address = Address()
    stream: Stream = Stream()
    retention: Kept = Kept()
    price_per_core_hour: float = 0.0
    clock: str = "system"
    retrain: bool = True


def load_profile(directory: Path, name: str = LOCAL) -> Profile:
    """The profile ``name`` of the project in ``directory``; ``local`` is there even when nothing declares it.

    Raises `DeclarationError` for a file that is no TOML, an unknown profile (naming the known ones), an unknown key
    (with the nearest names) and a value of the wrong type.

    >>> load_profile(Path("/nowhere")).serving.port
    8080
    """
    tables = {key: value for key, value in read_settings(directory).items() if key != "project"}
    known = sorted({LOCAL, *tables})
    if name not in known:
        raise DeclarationError(
            f"there is no profile {name!r}",
            tried=", ".join(known),
            fix=f"write a table [{name}] into {FILE}, or use a known one",
        )
    table = tables.get(name, {})
    _check_keys(f"[{name}]", table, Profile)
    for key, kind in (("serving", Workers), ("api", Address), ("stream", Stream), ("retention", Kept)):
        _check_keys(f"{key} of [{name}]", table.get(key), kind)
    for key in ("serving", "api"):
        _check_tls(f"{key}.tls of [{name}]", table.get(key))
    try:
        profile = msgspec.convert(table, Profile)
    except msgspec.ValidationError as error:
        raise DeclarationError(f"[{name}] of {FILE}: {error}", fix=f"mend it in {directory / FILE}") from error
    return _sensible(name, profile)


def read_settings(directory: Path) -> dict[str, Any]:
    """The tables of ``skyloom.toml``, none when there is no such file; `DeclarationError` when it is no TOML."""
    path = directory / FILE
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DeclarationError(f"{FILE} cannot be read: {error}", tried=str(path), fix="mend it, or remove it") from error
    for name, table in settings.items():
        if not isinstance(table, dict):
            raise DeclarationError(f"{FILE}: {name!r} stands in no table", fix=f"put it under [project] or [{LOCAL}]")
    return settings


def _check_tls(where: str, table: object) -> None:
    said = cast(dict[str, object], table).get("tls") if isinstance(table, dict) else None
    if said is None or said == TERMINATED:
        return
    if not isinstance(said, dict):
        raise DeclarationError(
            f"{FILE}: {where} cannot be {said!r}",
            fix=f'give {{ certificate = "FILE", key = "FILE" }}, or "{TERMINATED}" where something in front ends TLS',
        )
    _check_keys(where, cast(object, said), Tls)


def _check_keys(where: str, table: object, kind: type[msgspec.Struct]) -> None:
    if not isinstance(table, dict):
        return  # a value of the wrong type: the conversion says so
    known = list(kind.__struct_fields__)
    for key in table:
        if key not in known:
            near = nearest(str(key), known) or known
            raise DeclarationError(
                f"{FILE}: {where} has no key {key!r}", tried=", ".join(known), fix=f"did you mean {' or '.join(near)}?"
            )


def _is_collector(address: str | None) -> bool:
    if address is None:
        return True
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _sensible(name: str, profile: Profile) -> Profile:
    try:
        contracts = known_contracts(profile.serving.contracts)
    except DeclarationError as error:
        raise DeclarationError(
            f"{FILE}: serving.contracts of [{name}]: {error.what}", tried=error.tried, fix=error.fix
        ) from error
    faults = [
        (
            "sagemaker-multi-model" in contracts and profile.serving.workers > 1,
            f"sagemaker-multi-model with serving.workers = {profile.serving.workers}",
            "give it one process, which alone knows what it has loaded",
        ),
        (profile.clock not in CLOCKS, f"clock = {profile.clock!r}", 'say clock = "system" or clock = "data"'),
        (
            not 0 <= profile.serving.port <= 65535,
            f"serving.port = {profile.serving.port}",
            "give a port, 0 to 65535 (0: any)",
        ),
        (not 0 <= profile.api.port <= 65535, f"api.port = {profile.api.port}", "give a port, 0 to 65535 (0: any)"),
        (
            not 1 <= profile.partitions <= MOST_PARTITIONS,
            f"partitions = {profile.partitions}",
            f"give 1 to {MOST_PARTITIONS}: as many as processes may ever share the stream work",
        ),
        (
            not 0 <= (profile.serving.grpc_port or 0) <= 65535,
            f"serving.grpc_port = {profile.serving.grpc_port}",
            "give a port, 0 to 65535 (0: any), or none: no gRPC",
        ),
        (profile.serving.workers < 1, f"serving.workers = {profile.serving.workers}", "give at least 1"),
        (
            not profile.serving.logbook_gigabytes > 0,
            f"serving.logbook_gigabytes = {profile.serving.logbook_gigabytes:g}",
            "give more than 0: what may wait on the disk while the log is out of reach",
        ),
        (
            not _is_collector(profile.serving.traces),
            f"serving.traces = {profile.serving.traces!r}",
            'give the address of a collector of OTLP over HTTP, as in "http://127.0.0.1:4318"',
        ),
        (
            not 0 <= profile.serving.trace_share <= 1,
            f"serving.trace_share = {profile.serving.trace_share:g}",
            "give the share of requests to trace, 0 to 1",
        ),
        (
            profile.serving.logs not in LOGS,
            f"serving.logs = {profile.serving.logs!r}",
            'say logs = "json" or logs = "text"',
        ),
        (
            not (profile.serving.log_requests_over or 0.0) >= 0,
            f"serving.log_requests_over = {profile.serving.log_requests_over}",
            "give seconds, 0 (for all requests) or more",
        ),
        (profile.stream.workers < 1, f"stream.workers = {profile.stream.workers}", "give at least 1"),
        (
            not SHORTEST_PATIENCE_S <= profile.stream.patience < float("inf"),
            f"stream.patience = {profile.stream.patience:g}",
            f"give seconds, {SHORTEST_PATIENCE_S:g} or more: what a pause or a slow store may take",
        ),
        (
            not (profile.retention.days >= 0 and profile.retention.gigabytes >= 0),
            f"retention of {profile.retention.days:g} days and {profile.retention.gigabytes:g} gigabytes",
            "give 0 (no limit) or more",
        ),
        (not profile.price_per_core_hour >= 0, f"price_per_core_hour = {profile.price_per_core_hour}", "give 0 or more"),
    ]
    for wrong, what, fix in faults:
        if wrong:
            raise DeclarationError(f"{FILE}: [{name}] {what} cannot be", fix=fix)
    serving, api = profile.serving, profile.api
    check_address(f"{FILE}: serving of [{name}]", serving.address, serving.tls, trust_platform=serving.trust_platform)
    check_address(f"{FILE}: api of [{name}]", api.address, api.tls)
    return profile
