"""The private part of OpenTelemetry's instrumentation that the service uses.

setup.cfg allows no release after the tested one. One that changes it fails tests/observe/test_tracing.py.
"""

from __future__ import annotations

from opentelemetry.instrumentation._semconv import _StabilityMode

STABLE_NAMES = _StabilityMode.HTTP
"""Gives the attributes of HTTP spans their stable names, as the argument `sem_conv_opt_in_mode`.

The argument is public, but its only type isn't. The variable OTEL_SEMCONV_STABILITY_OPT_IN would affect the
whole process.
"""
