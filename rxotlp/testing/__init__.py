"""Tests of pipelines, operators, exporters and schedulers, in virtual time.

    Rig              an operator between a source that the test feeds and a clock it moves
    Recorder         an exporter that notes what it is sent
    check_operator   the rules that every operator keeps; likewise for other things

Nothing here needs pytest. See `rxotlp/testing/README.md` for a page that shows how.
"""

from rxotlp.testing.check_exporter import check_exporter
from rxotlp.testing.check_operator import check_operator, check_processor
from rxotlp.testing.check_scheduler import check_scheduler
from rxotlp.testing.elements import ids_of, logs, spans
from rxotlp.testing.leaks import no_leaks
from rxotlp.testing.marbles import Diagram, Moment, diagrams, draw, read
from rxotlp.testing.recorder import Recorder, SlowRecorder
from rxotlp.testing.rig import Feed, Rig, kind
from rxotlp.testing.rules import Broken, ConformanceError

__all__ = [
    "Broken",
    "ConformanceError",
    "Diagram",
    "Feed",
    "Moment",
    "Recorder",
    "Rig",
    "SlowRecorder",
    "check_exporter",
    "check_operator",
    "check_processor",
    "check_scheduler",
    "diagrams",
    "draw",
    "ids_of",
    "kind",
    "logs",
    "no_leaks",
    "read",
    "spans",
]
