"""Reports as tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def metrics_table(report: dict[str, Any]) -> Table:
    """Lay out an evaluation report as a table."""
    title = f"{report['preset']}, {report['trained_on']}, {report['split']} split, {report['protocol']} protocol"
    table = Table(title=title, caption=f"{report['users']:,} users; {report['tie_rule']}")
    table.add_column("k", justify="right")
    for name in ("recall", "ndcg", "mrr"):
        table.add_column(name, justify="right")
    for k in (5, 10, 20):
        table.add_row(str(k), *(f"{report[f'{name}@{k}']:.4f}" for name in ("recall", "ndcg", "mrr")))
    return table


def cost_table(report: dict[str, Any]) -> Table:
    """Lay out a benchmark report as a table."""
    without = f" without {report['without']}" if report["without"] else ""
    table = Table(
        title=f"{report['preset']}{without}: {report['users']:,} users, {report['items']:,} items",
        caption=report["machine"],
        show_header=False,
    )
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "an epoch": f"{report['seconds_per_epoch']:.1f} s",
        "histories": f"{report['histories_per_second']:,.0f} a second",
        "a step": f"{report['milliseconds_per_step']:.1f} ms",
        "the first step": f"{report['first_step_seconds']:.1f} s",
        "reading an epoch alone": f"{report['reading_seconds']:.2f} s",
        "peak memory": f"{report['peak_memory_gb']:.2f} GB",
    }
    if "shares" in report:
        rows |= {
            f"time in the {name}": f"{share:.0%}"
            for name, share in report["shares"].items()
            if share or name != "augmenter"
        }
        rows["matrix peak"] = f"{report['matrix_peak'] / 1e9:,.0f} GFLOP/s"
        rows["of it in training"] = f"{report['fraction_of_peak']:.0%}"
    for name, value in rows.items():
        table.add_row(name, value)
    return table
