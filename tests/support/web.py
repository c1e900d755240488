"""A web program with the two-line change: `gunicorn --workers 2 --preload web:app`."""

import os

from flask import Flask
from opentelemetry.sdk.trace import TracerProvider

from rxotlp.sdk import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor())
tracer = provider.get_tracer("shop")

app = Flask(__name__)


@app.get("/orders/<int:number>")
def order(number: int) -> dict[str, int]:
    with tracer.start_as_current_span(f"order {number}") as span:
        span.set_attribute("process.pid", os.getpid())
        return {"number": number, "pid": os.getpid()}
