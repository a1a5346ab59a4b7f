"""The figures that `make bench` measures: one module each, in the order of the table."""

from __future__ import annotations

from bench.figures import busy, first_token, many, queries, requests, start, tokens
from bench.measured import Figure

FIGURES: dict[str, Figure] = {
    "tokens": tokens.measure,
    "busy": busy.measure,
    "many": many.measure,
    "first-token": first_token.measure,
    "requests": requests.measure,
    "queries": queries.measure,
    "start": start.measure,
}
"""Each figure under its name for `--only`."""
