"""Profiles: what a table of the settings means, and what it may not say."""

from pathlib import Path

import pytest

from skyloom.kernel.errors import DeclarationError
from skyloom.spec.profile import Address, Profile, Workers, load_profile


def test_local_is_all_embedded_without_any_file(tmp_path: Path):
    assert load_profile(tmp_path) == Profile()


def test_a_profile_holds_what_its_table_says(tmp_path: Path):
    (tmp_path / "skyloom.toml").write_text(
        """
        [project]
        name = "x"
        [prod]
        metadata = "postgresql://db/sky"
        log = "kafka://broker:9092"
        price_per_core_hour = 1
        clock = "data"
        partitions = 4
        serving = {port = 0, workers = 3}
        [prod.api]
        port = 7171
        """
    )
    assert load_profile(tmp_path, "prod") == Profile(
        metadata="postgresql://db/sky",
        log="kafka://broker:9092",
        partitions=4,
        serving=Workers(0, 3),
        api=Address(7171),
        price_per_core_hour=1.0,
        clock="data",
    )
    assert load_profile(tmp_path) == Profile()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('metdata = "x"', "did you mean metadata"),
        ("serving = {prt = 1}", "did you mean port"),
        ("api = {workers = 1}", "api of .local. has no key 'workers'"),
        ("log = 3", "Expected `str"),
        ("serving = 8080", "Expected `object`"),
        ("serving = {port = 70000}", "cannot be"),
        ('serving = {traces = "collector:4318"}', "cannot be"),
        ('serving = {traces = "http://"}', "cannot be"),
        ('serving = {traces = "http://collector:99999"}', "cannot be"),
        ("serving = {trace_share = 1.5}", "serving.trace_share = 1.5 cannot be"),
        ('serving = {logs = "xml"}', "serving.logs = 'xml' cannot be"),
        ("serving = {log_requests_over = -0.5}", "serving.log_requests_over = -0.5 cannot be"),
        ("serving = {trace_shares = 0.5}", "did you mean trace_share"),
        ("serving = {grpc_port = -1}", "cannot be"),
        ('serving = {contracts = ["sagemakr"]}', "did you mean sagemaker"),
        ('serving = {contracts = "sagemaker"}', "contracts"),
        ('serving = {contracts = ["sagemaker-multi-model"], workers = 2}', "cannot be"),
        ("serving = {workers = 0}", "cannot be"),
        ("stream = {workers = 0}", "stream.workers = 0 cannot be"),
        ("stream = {patience = 1.5}", "give seconds, 2 or more"),
        ("stream = {patience = nan}", "stream.patience = nan cannot be"),
        ("stream = {patience = inf}", "stream.patience = inf cannot be"),
        ("partitions = 0", "partitions = 0 cannot be"),
        ("partitions = 1025", "give 1 to 1024"),
        ('partitions = "4"', "Expected `int`"),
        ("api = {port = -1}", "cannot be"),
        ("price_per_core_hour = nan", "cannot be"),
        ('clock = "sun"', "cannot be"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: str, complaint: str):
    (tmp_path / "skyloom.toml").write_text(f"[local]\n{table}\n")
    with pytest.raises(DeclarationError, match=complaint):
        load_profile(tmp_path)


def test_an_unknown_profile_names_the_known(tmp_path: Path):
    (tmp_path / "skyloom.toml").write_text("[project]\nname = 'x'\n[prod]\n")
    with pytest.raises(DeclarationError, match=r"no profile 'stage'[\s\S]*tried: local, prod"):
        load_profile(tmp_path, "stage")
