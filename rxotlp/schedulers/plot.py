"""A picture of measurements and of what was decided because of them."""

from collections.abc import Sequence

from rxotlp._core.adjusting import AdjustmentSettings, Decision, Metrics
from rxotlp._core.chart import Panel, chart

__all__ = ["plot_decisions"]


def plot_decisions(
    measurements: Sequence[Metrics],
    decisions: Sequence[Decision],
    *,
    settings: AdjustmentSettings | None = None,
    title: str = "Measurements and decisions",
) -> str:
    """An SVG document: measurements with their thresholds, limits, and a mark a decision.

    Args:
        measurements: a recorded series.
        decisions: what was decided, or what `replay` says would be. Those made by hand have
            no sample, and so no time: they move the limits at the next decision's.
        settings: whose thresholds and first limits are drawn; the defaults.
        title: the picture's.
    """
    settings = AdjustmentSettings() if settings is None else settings
    began = measurements[0].at if measurements else 0.0
    marks: list[tuple[float, str]] = []
    limits: dict[str, list[tuple[float, float]]] = {
        "concurrency": [(began, settings.concurrency)],
        "batch_size": [(began, settings.batch_size)],
    }
    at = began
    for decision in decisions:
        if decision.metrics is not None:
            at = decision.metrics.at
        name = decision.action.partition("_")[2]
        if name in limits and isinstance(decision.after, int | float):
            limits[name].append((at, decision.after))
        marks.append((at, f"{decision.action}{_to(decision)}: {decision.reason}"))
    panels = [
        Panel(
            "CPU and memory (share)",
            {
                "CPU": [(one.at, one.cpu_usage) for one in measurements],
                "memory": [(one.at, one.memory_usage) for one in measurements],
            },
            rules=(settings.cpu_high, settings.memory_high, settings.memory_refuse),
        ),
        Panel(
            "latency (s)",
            {"latency": [(m.at, m.latency) for m in measurements if m.latency is not None]},
            rules=(settings.latency_high,),
        ),
        Panel("concurrency", {"concurrency": limits["concurrency"]}, steps=True),
        Panel("batch size (items)", {"batch size": limits["batch_size"]}, steps=True),
    ]
    return chart(title, panels, marks)


def _to(decision: Decision) -> str:
    if decision.action in ("refuse", "admit"):
        return ""
    if isinstance(decision.after, int | float):
        return f" to {decision.after:g}" if decision.after < 1000 else f" to {decision.after:,.0f}"
    moved = (name for name, boost in decision.after.items() if boost != decision.before[name])  # type: ignore[index]
    return " of " + ", ".join(f"{name} to +{decision.after[name]:g}" for name in moved)
