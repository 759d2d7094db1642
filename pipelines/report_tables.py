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


def augmenter_table(report: dict[str, Any]) -> Table:
    """Lay out an augmenter report as a table."""
    table = Table(
        "", "augmenter", "at random", title=f"{report['preset']}: {report['histories']:,} validation histories"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for name, title in (("deletions", "broken histories, deletions"), ("planted_noise", "planted noise, deletions")):
        if name in report:
            found = report[name]
            table.add_row(f"{title}: precision", f"{found['precision']:.3f}", f"{found['precision_at_random']:.3f}")
            table.add_row(f"{title}: recall", f"{found['recall']:.3f}", f"{found['recall_at_random']:.3f}")
            table.add_row(f"{title}: good events lost", f"{found['good_lost']:.4f}", "")
    for k in (1, 10):
        hit, random = report["insertions"][f"hit@{k}"], report["insertions"][f"hit@{k}_at_random"]
        table.add_row(f"broken histories, insertions: hit@{k}", f"{hit:.4f}", f"{random:.4f}")
    views = report["views"]
    for name in ("learned", "random"):
        table.add_row(f"cosine of raw and {name} view", f"{views[f'cosine_raw_{name}']:.3f}", "")
    table.add_row("learned view nearer than the random one", f"{views['learned_is_nearer']:.3f}", "")
    return table


def index_table(report: dict[str, Any]) -> Table:
    """Lay out the report of `index_benchmark`.

    Args:
        report: see `index_benchmark`.
    """
    table = Table("20 best items", "1 query", "32 queries", "", title=f"{report['items']:,} items x {report['width']}")
    for name, way in report["ways"].items():
        times = [f"{way['milliseconds'][queries]:.2f} ms" for queries in ("1 query", "32 queries")]
        about = ", ".join(f"{key} {value}" for key, value in way.items() if key != "milliseconds")
        table.add_row(name, *times, about)
    return table
