"""What options of the command line choose between; `--help` lists the values."""

from __future__ import annotations

from enum import StrEnum


class Split(StrEnum):
    """Which held-out item is ranked."""

    test = "test"
    validation = "validation"


class Protocol(StrEnum):
    """What the held-out item is ranked against."""

    full = "full"
    full_with_history = "full-with-history"
    sampled_99 = "sampled-99"


class Gain(StrEnum):
    """What the training path can do without."""

    softmax_slices = "softmax-slices"
    fused_adam = "fused-adam"
    length_buckets = "length-buckets"
    row_lookups = "row-lookups"


class Duplicates(StrEnum):
    """What happens to events that say the same twice."""

    drop = "drop"
    keep = "keep"


class Signature(StrEnum):
    """What a load test asks a model for."""

    serving_default = "serving_default"
    retrieve = "retrieve"


class IndexKind(StrEnum):
    """How an exported model finds the best items of its catalogue."""

    exact = "exact"
    partitioned = "partitioned"


class LogFormat(StrEnum):
    """How a server's log is written."""

    text = "text"
    json = "json"


class Engine(StrEnum):
    """What works on a table: this process, or Apache Beam."""

    local = "local"
    beam = "beam"


class Runner(StrEnum):
    """What executes a Beam pipeline."""

    DirectRunner = "DirectRunner"
    DataflowRunner = "DataflowRunner"
    FlinkRunner = "FlinkRunner"
    SparkRunner = "SparkRunner"
