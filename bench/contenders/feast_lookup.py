"""Feast, file store: the newest row of each entity as of each label, no windows: what its local engine can do."""

import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64
from shared import contend


def prepare(events: pa.Table, labels: pa.Table) -> Any:
    """A feature store with one view over the events, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    moment = events.column("at").cast(pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"k": events.column("k"), "x": events.column("x"), "at": moment}), folder / "events.parquet")
    config = RepoConfig(
        project="bench", provider="local", registry=str(folder / "registry.db"), entity_key_serialization_version=3
    )
    store = FeatureStore(config=config)
    entity = Entity(name="k", join_keys=["k"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "events.parquet"), timestamp_field="at")
    view = FeatureView(
        name="last", entities=[entity], ttl=timedelta(days=7), schema=[Field(name="x", dtype=Float64)], source=source
    )
    store.apply([entity, view])
    asked = labels.select(["rid", "k"]).append_column(
        "event_timestamp", labels.column("t").cast(pa.timestamp("ms", tz="UTC"))
    )
    return store, asked.to_pandas()


def work(prepared: Any) -> pa.Table:
    """The last value for every label; Feast leaves out labels whose last value is older than the view's ttl."""
    store, asked = prepared
    found = store.get_historical_features(entity_df=asked, features=["last:x"]).to_df()
    return pa.table({"rid": pa.array(found["rid"], pa.int64()), "x": pa.array(found["x"], pa.float64(), from_pandas=True)})


contend("feast_lookup", prepare, work)
