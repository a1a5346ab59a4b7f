"""What an ended answer adds to the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_api.generation.outcome import Summary
    from chat_api.observe.metrics import Metrics


def count(
    metrics: Metrics, summary: Summary, asked: tuple[str, str], deltas: int, speaking_seconds: float
) -> None:
    """Count an answer. `asked`: the server and the model of its last try, whose deltas these are."""
    metrics.generations.labels(summary.outcome, summary.error or summary.finish_reason).inc()
    metrics.generation_duration.observe(summary.inference_time_ms / 1000)
    metrics.tokens.inc(deltas)
    if deltas > 1:
        metrics.time_per_token.labels(*asked).observe(speaking_seconds / (deltas - 1))
