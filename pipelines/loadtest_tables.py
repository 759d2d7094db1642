"""A load test's report as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def loadtest_tables(report: dict[str, Any]) -> list[Table]:
    """Lay out a report of `loadtest`: what was measured, and the kinds of malformed requests if there are any."""
    tables = [_measured(report)]
    if "malformed" in report:
        tables.insert(0, _kinds(report["malformed"]["kinds"]))
    return tables


def _measured(report: dict[str, Any]) -> Table:
    asked = f"{report['signature']}, {report['rows']} " + ("history" if report["rows"] == 1 else "histories")
    table = Table(
        title=f"{report['model']} version {report['model_version']}: {report['items']:,} items, {asked} a request",
        caption=report["machine"],
        show_header=False,
    )
    table.add_column()
    table.add_column(justify="right")
    rows = {"first request": f"{report['first_request_ms']:.2f} ms"} if "first_request_ms" in report else {}
    if "malformed" in report:
        for part in ("before", "after"):
            normal = report["malformed"][part]
            rows |= _latencies(normal["latency_ms"], f"normal request {part}, ")
            rows |= {f"normal request {part}, {status}": f"{count:,}" for status, count in normal["errors"].items()}
        rows["wrong status"] = f"{report['malformed']['wrong']:,}"
    else:
        rows |= {
            "clients": str(report["clients"]),
            "requests": f"{report['requests']:,}",
            "answers a second": f"{report['requests_per_second']:,.0f}",
            **_latencies(report["latency_ms"]),
            "failed": f"{report['failed']:,}",
            **{f"  {status}": f"{count:,}" for status, count in report["errors"].items()},
        }
        if report["pushed"]:
            rows["versions pushed"] = f"{len(report['pushed'])}, then served: {report['model_version_after']}"
    memory = report.get("memory_mb", {})
    if memory.get("before") and memory.get("after"):
        rows["server's memory"] = f"{memory['before']:,.0f} MB before, {memory['after']:,.0f} MB after"
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _latencies(latency_ms: dict[str, float], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{name}": f"{value:.2f} ms" for name, value in latency_ms.items()}


def _kinds(kinds: dict[str, Any]) -> Table:
    table = Table("malformed request", "right", "wrong", "statuses")
    for name, kind in kinds.items():
        statuses = ", ".join(f"{status} {count:,}" for status, count in kind["statuses"].items())
        table.add_row(name, f"{kind['right']:,}", f"{kind['wrong']:,}", statuses)
    return table
