"""The log in Kafka, on a real broker."""

import os
from contextlib import closing
from functools import partial
from uuid import uuid4

import pytest

from skyloom.kernel.errors import DataError, DeclarationError, Transient, UsageError
from skyloom.ports.log import NewBatch
from skyloom.stores.log.kafka import KafkaLog
from skyloom.stores.log.kafka_settings import KafkaSettings, kafka_settings
from skyloom.testing.conformance.log import (
    TOPIC,
    LogConformance,
    LogKilled,
    LogPartitions,
    LogPositions,
    LogRetention,
    batch,
    same,
    whole,
)
from skyloom.testing.faults import together

pytestmark = pytest.mark.xdist_group("kafka")


@pytest.fixture
def open_log(kafka_broker):
    return partial(KafkaLog, KafkaSettings(kafka_broker.servers, prefix=f"t{uuid4().hex}"))


class TestKafkaLog(LogConformance, LogKilled, LogPartitions, LogPositions, LogRetention):
    pass
