"""Metrics in Prometheus's format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from laclrec_tf.serving.server.metrics import ServerMetrics


def samples(metrics: ServerMetrics, prefix: str) -> dict[tuple, float]:
    """Values of the exposed metrics by name and label values, as a scraper reads them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name.startswith(prefix) and not sample.name.endswith("_created")
    }


def test_requests_are_counted_and_timed():
    metrics = ServerMetrics()
    metrics.observe_request("Predict", "shop", "OK", 0.0004)
    metrics.observe_request("Predict", "shop", "OK", 0.3)
    metrics.observe_request("Predict", "shop", "INVALID_ARGUMENT", 0.0007)
    counts = samples(metrics, "laclrec_requests_total")
    assert counts == {
        ("laclrec_requests_total", "OK", "Predict", "shop"): 2,
        ("laclrec_requests_total", "INVALID_ARGUMENT", "Predict", "shop"): 1,
    }
    seconds = samples(metrics, "laclrec_request_seconds")
    assert seconds["laclrec_request_seconds_count", "Predict", "shop"] == 3
    below = {key[1]: value for key, value in seconds.items() if key[0].endswith("_bucket")}
    assert (below["0.0005"], below["0.001"], below["0.25"], below["0.5"]) == (1, 2, 2, 3)


def test_a_made_up_name_is_no_time_series():
    metrics = ServerMetrics()
    metrics.set_version_state("shop", 1, "LOADING")
    for number in range(1000):
        metrics.observe_request("Predict", f"made-up-{number}", "NOT_FOUND", 0.001)
    metrics.observe_request("Predict", "shop", "NOT_FOUND", 0.001)
    assert samples(metrics, "laclrec_requests_total") == {
        ("laclrec_requests_total", "NOT_FOUND", "Predict", "other"): 1000,
        ("laclrec_requests_total", "NOT_FOUND", "Predict", "shop"): 1,
    }


def test_a_version_is_in_one_state_and_leaves_at_its_end():
    metrics = ServerMetrics()
    for state in ("START", "LOADING", "AVAILABLE"):
        metrics.set_version_state("shop", 3, state)
    metrics.set_version_state("shop", 4, "LOADING")
    name = "laclrec_model_version"
    assert samples(metrics, name) == {(name, "shop", "AVAILABLE", "3"): 1, (name, "shop", "LOADING", "4"): 1}
    for state in ("UNLOADING", "END", "END"):
        metrics.set_version_state("shop", 3, state)
    assert [key[0] for key in samples(metrics, name)] == [name]


def test_batches_and_requests_in_flight():
    metrics = ServerMetrics()
    metrics.observe_batch("shop", 3)
    metrics.observe_batch("shop", 32)
    assert samples(metrics, "laclrec_batch_rows")["laclrec_batch_rows_sum", "shop"] == 35
    metrics.set_in_flight(7)
    assert samples(metrics, "laclrec_requests_in")["laclrec_requests_in_flight",] == 7


def test_each_server_has_metrics_of_its_own():
    first, second = ServerMetrics(), ServerMetrics()
    first.observe_batch("shop", 1)
    assert not samples(second, "laclrec_batch_rows")
    registry = CollectorRegistry()
    assert ServerMetrics(registry).registry is registry
    assert samples(first, "process_resident_memory_bytes")["process_resident_memory_bytes",] > 0
