"""``skyloom doctor``: what is installed, what is missing, and the command that mends it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import typer

from skyloom.cli.doctor_stores import Reached, reach
from skyloom.cli.options import JsonOption, ProfileOption
from skyloom.cli.output import Out
from skyloom.cli.requirements import Requirement, installed, requirements
from skyloom.kernel.errors import SkyloomError
from skyloom.spec.address import Protection
from skyloom.spec.profile import Address, Profile, Workers, load_profile

_GIB = 2**30
_NATIVE = ("duckdb", "lightgbm", "numba", "onnxruntime")
_LOAD = "import importlib, sys\nfor name in sys.argv[1:]:\n    print(name, flush=True)\n    importlib.import_module(name)"


class Check(msgspec.Struct, frozen=True):
    """What one look found: ``state`` is ``ok``, ``note`` (it works, but) or ``missing`` (something will fail)."""

    name: str
    state: str
    found: str
    fix: str = ""


def doctor(profile: ProfileOption = "local", json: JsonOption = False) -> None:
    """Say what is installed, what is missing, and what mends it."""
    out = Out(json=json)
    checks = examine(Path.cwd(), profile)
    missing = [check for check in checks if check.state == "missing"]
    out.table(["check", "state", "found", "mend it with"], [[c.name, c.state, c.found, c.fix] for c in checks])
    out.line(f"{len(missing)} missing" if missing else "everything that is needed is there")
    out.document({"healthy": not missing, "checks": checks})
    if missing:
        raise typer.Exit(1)


def examine(directory: Path, profile: str) -> list[Check]:
    """Every check of this machine, and of the project in ``directory``."""
    try:
        settings = load_profile(directory, profile)
    except SkyloomError as error:
        settings, told = Profile(), [Check("skyloom.toml", "missing", error.what, error.fix)]
    else:
        told = []
    machine: list[Callable[[], Check]] = [_python, _cores, _memory, _native, _compiled]
    packages = [_package(requirement) for requirement in requirements("skyloom")]
    ports = [_port("serving", settings.serving), _port("API and console", settings.api)]
    shown = [
        *certificate_checks("serving", directory, settings.serving.tls),
        *certificate_checks("API and console", directory, settings.api.tls),
    ]
    stores = [_store(each) for each in reach(settings)]
    recorded = [] if told else [*_audit(directory, profile), *_servers(directory, profile)]
    project = [_disk(directory), _writable(directory), *recorded]
    return [*told, *(check() for check in machine), *project, *ports, *shown, *stores, *packages]


def _python() -> Check:
    return Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0))
    return Check("cores", "ok" if cores >= 2 else "note", str(cores), "" if cores >= 2 else "2 or more are faster")


def _memory() -> Check:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    enough = total >= 2 * _GIB * 0.9
    return Check("memory", "ok" if enough else "note", f"{total / _GIB:.1f} GiB", "" if enough else "training wants 2 GiB")


def _native() -> Check:
    """Load the compiled libraries in a process of their own: one that lacks a system library fails only then."""
    command = [sys.executable, "-c", _LOAD, *_NATIVE]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        return Check("compiled libraries", "ok", f"{', '.join(_NATIVE)} load")
    last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    name = (ended.stdout.split() or ["python"])[-1]
    system = "apt-get install libgomp1" if "libgomp" in last else f"pip install --force-reinstall {name}"
    return Check("compiled libraries", "missing", f"{name} does not load: {last}", system)


def _compiled() -> Check:
    """Where Numba keeps what it compiled: beside the code, in the user's cache, or where the environment says."""
    import skyloom.features

    named = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(*skyloom.features.__path__)
    places = [Path(named)] if named else [beside, Path.home() / ".cache"]
    for place in places:
        if os.access(place if place.exists() else place.parent, os.W_OK):
            return Check("compiled code", "ok", f"kept below {place}")
    fix = "export NUMBA_CACHE_DIR=DIRECTORY that can be written"
    return Check("compiled code", "note", "kept nowhere: each process compiles anew", fix)


def _disk(directory: Path) -> Check:
    free = shutil.disk_usage(directory).free
    state = "ok" if free >= 2 * _GIB else "note" if free >= _GIB / 4 else "missing"
    return Check("disk", state, f"{free / _GIB:.1f} GiB free", "" if state == "ok" else "make room: 2 GiB are comfortable")


def _writable(directory: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"x")
    except OSError as error:
        return Check(
            "project folder", "missing", f"{directory} cannot be written: {error.strerror}", f"chmod u+w {directory}"
        )
    return Check("project folder", "ok", f"{directory} can be written")


def _audit(directory: Path, profile: str) -> list[Check]:
    """Whether the audit log of a project's changes is as it was written."""
    from skyloom.governance.audit import verify_audit
    from skyloom.platform import open_platform

    try:
        platform = open_platform(directory, profile)
        if not platform.state.exists():
            return []
        verdict = verify_audit(platform.metadata)
    except SkyloomError as error:
        return [Check("audit log", "missing", error.what, error.fix)]
    if verdict.broken_at is not None:
        fix = "restore the metadata from a copy made before"
        return [Check("audit log", "missing", f"line {verdict.broken_at:,} was changed: its chain is broken", fix)]
    return [
        Check(
            "audit log", "ok", f"{verdict.lines:,} {'change' if verdict.lines == 1 else 'changes'}, chained one to the next"
        )
    ]


def _servers(directory: Path, profile: str) -> list[Check]:
    """Whether the servers that run here obey the newest release, and could start without the object store."""
    from skyloom.platform import open_platform
    from skyloom.runtime.releases import serving_processes, troubles_of

    checks: list[Check] = []
    for each in serving_processes(open_platform(directory, profile)):
        name, found = f"server {each.pid}", f"obeys release {each.number}" if each.release else "obeys nothing yet"
        if troubles := troubles_of(each):
            checks.append(Check(name, "missing", troubles[0].splitlines()[0], "skyloom releases"))
        elif each.release and not each.copied:
            checks.append(Check(name, "note", f"{found}, without a copy of its own", "make room on the disk"))
        else:
            checks.append(Check(name, "ok", found))
    return checks


def _port(name: str, where: Address | Workers) -> Check:
    port = where.port
    with socket.socket(socket.AF_INET6 if ":" in where.address else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((where.address, port))
        except OSError as error:
            fix = "stop what uses it (skyloom up?), or choose another in skyloom.toml"
            return Check(f"port {port}", "note", f"for {name}: {error.strerror}", fix)
    return Check(f"port {port}", "ok", f"free for {name}")


def certificate_checks(name: str, directory: Path, tls: Protection) -> list[Check]:
    """Whether a server could speak TLS with its files, and until when."""
    from skyloom.runtime.addresses import certificate_files
    from skyloom.serving.certificates import read_pair
    from skyloom.serving.tls_context import prove

    files = certificate_files(directory.resolve(), tls)
    if files is None:
        return []
    what = f"certificate for {name}"
    try:
        pair, warnings = read_pair(files, time.time())
        prove(pair)
    except SkyloomError as error:
        return [Check(what, "missing", error.what, error.fix)]
    until = time.strftime("%Y-%m-%d", time.gmtime(pair.expires_s))
    found = f"for {', '.join(pair.names) or 'nobody'}, until {until}"
    if warnings:
        return [Check(what, "note", found, warnings[0])]
    soon = pair.is_ending(time.time())
    return [Check(what, "note" if soon else "ok", found, "renew it" if soon else "")]


def _store(reached: Reached) -> Check:
    state, found = ("missing", reached.trouble) if reached.trouble else ("ok", f"{reached.place} answers")
    return Check(f"{reached.store} store" if reached.store == "online" else reached.store, state, found, reached.fix)


def _package(requirement: Requirement) -> Check:
    version = installed(requirement.name)
    if requirement.met_by(version):
        return Check(requirement.name, "ok", str(version))
    found = f"{version}, but {requirement.least} or newer is needed" if version else "not installed"
    if requirement.extra:
        return Check(requirement.name, "note", f"{found}: optional", f"pip install 'skyloom[{requirement.extra}]'")
    return Check(requirement.name, "missing", found, f"pip install '{requirement.name}>={requirement.least}'")
