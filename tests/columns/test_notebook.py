"""The notebook is executed: cell after cell, as a reader would."""

import json
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent.parent.parent / "examples" / "arrow.ipynb"


def test_the_notebook_does_what_it_says() -> None:
    """A live stream ends in a table by service, and what was sent arrived."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    found: dict[str, Any] = {"__name__": "notebook"}
    try:
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                exec(compile(source, f"{NOTEBOOK.name}, cell {number}", "exec"), found)
    finally:
        if "gateway" in found:
            found["gateway"].stop()
    report = found["report"].to_pylist()
    spans = sum(batch.num_rows for batch in found["window"])
    assert sum(row["ms_count"] for row in report) == spans == found["backend"].items
    assert 0 < spans < 20_000  # client spans are not among them
    assert {"resource.service.name", "failed_sum", "ms_mean"} <= report[0].keys()
    assert sum(row["failed_sum"] for row in report) > 0
    code = "attributes.http.response.status_code"
    codes = {row[code]: row["name_count"] for row in found["codes"].to_pylist()}
    assert sum(codes.values()) == spans
    assert codes.keys() >= {None, 200}


def test_the_notebook_keeps_no_output() -> None:
    """What a run printed is not part of the example."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
