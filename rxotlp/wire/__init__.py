"""Bytes to model and back; the only place that knows OTLP's field numbers."""
