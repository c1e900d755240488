"""`rxotlp operators` and the plug-ins it finds, with a real distribution on the path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rxotlp import operators as ops
from rxotlp.plugins import plugins

MODULE = '''
def debounce(seconds: float):
    """Only what is followed by silence."""

not_callable = 3
'''


def operators(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with what is installed at `path` too."""
    return subprocess.run(
        [sys.executable, "-m", "rxotlp", "operators", *arguments],
        env={**os.environ, "PYTHONPATH": "" if path is None else str(path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with a distribution that has good and broken entry points."""
    info = tmp_path / "theirs-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[rxotlp.operators]\ndebounce = theirs:debounce\nbroken = theirs_broken:x\n"
        "[rxotlp.processors]\nexits = theirs_exits:x\nthree = theirs:not_callable\n"
    )
    (tmp_path / "theirs.py").write_text(MODULE)
    (tmp_path / "theirs_broken.py").write_text("import no_such_module\n")
    (tmp_path / "theirs_exits.py").write_text("raise SystemExit('no licence')\n")
    return tmp_path


def test_a_plugin_is_listed_beside_ours_and_a_broken_one_is_named(installed: Path) -> None:
    """One that fails to import must not hide the others, nor go unseen."""
    done = operators(path=installed)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "theirs 1.2  Only what is followed by silence." in rows["debounce"]
    assert "cannot be imported: ModuleNotFoundError: No module named" in rows["broken"]
    assert "cannot be imported: SystemExit: no licence" in rows["exits"]
    assert "theirs:not_callable is no function but int" in rows["three"]
    assert {"batch", "redact", "where"} <= rows.keys()
    assert "attr" not in rows  # a condition


def test_one_that_cannot_be_imported_is_a_status(installed: Path) -> None:
    """A script that checks for a plug-in asks for it by name."""
    done = operators("broken", path=installed)
    assert done.returncode == 1
    assert "from theirs 1.2" in done.stdout
    assert "No module named 'no_such_module'" in done.stdout
    assert operators("debounce", path=installed).returncode == 0


def test_plugins_are_what_their_entry_points_name(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of the user's finds them as the command does."""
    monkeypatch.syspath_prepend(installed)
    broken, debounce = plugins("operators")
    assert debounce.error is None
    assert debounce.value is not None
    assert debounce.value.__name__ == "debounce"
    assert debounce.distribution == "theirs 1.2"
    assert broken.value is None
    with pytest.raises(ValueError, match=r"plugins\('exporters'\): expected one of operators"):
        plugins("exporters")


def test_one_is_shown_with_signature_and_marble() -> None:
    """What a newcomer needs before writing the call."""
    done = operators("rate_limit")
    assert done.returncode == 0
    assert "rate_limit(items_per_second: float, *, burst: int | None = None" in done.stdout
    assert "source  -abc---|" in done.stdout
    assert "reactivex." not in done.stdout


def test_a_processor_is_shown_with_its_example() -> None:
    """An example is copied sooner than a description is read."""
    assert ">>> " in operators("redact").stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bach", "is it batch?"),
        ("xyz", "`rxotlp operators` lists them"),
        ("nope", "`rxotlp operators` lists them"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name: str, says: str) -> None:
    """A typing mistake deserves its correction."""
    done = operators(name)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line == f"rxotlp: no operator or processor {name!r}; {says}"


def test_json_has_every_operator() -> None:
    """Editors and documentation are made of it; an operator left out would not be found."""
    entries = json.loads(operators("--json").stdout)
    assert {"name", "kind", "from", "signature", "meaning", "doc", "error"} == set(entries[0])
    kinds = {entry["name"]: entry["kind"] for entry in entries}
    assert (kinds["batch"], kinds["by_scope"], kinds["redact"]) == (
        "operator",
        "selector",
        "processor",
    )
    listed = {name for name, kind in kinds.items() if kind != "processor"}
    assert listed == {name for name in ops.__all__ if not name[0].isupper()}
    assert all(entry["meaning"] for entry in entries)
