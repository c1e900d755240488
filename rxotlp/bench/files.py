"""Where results go: the file's ending says as what.

JSON and text are always there; pictures need matplotlib, which is loaded for them alone.
"""

from pathlib import Path

from rxotlp.bench.results import Comparison
from rxotlp.bench.table import books, text

__all__ = ["ENDINGS", "PICTURES", "can_draw", "check_path", "write"]

PICTURES = (".png", ".svg")
ENDINGS = (".json", ".txt", *PICTURES)
MISSING = "a picture needs matplotlib: pip install 'rxotlp[bench]'"


def check_path(call: str, path: Path) -> None:
    """Raise when nothing can be written there.

    Raises:
        ValueError: an unknown ending, or no such folder.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{call} {path}: expected a name that ends in {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise ValueError(f"{call} {path}: no directory {path.parent}")


def can_draw() -> bool:
    """Whether there is matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def write(found: Comparison, path: Path) -> Path:
    """Write a comparison; see `Comparison.save`."""
    check_path("save", path)
    ending = path.suffix.lower()
    if ending == ".json":
        path.write_text(found.to_json() + "\n", encoding="utf-8")
    elif ending == ".txt":
        path.write_text(f"{text(found)}\n{books(found)}\n", encoding="utf-8")
    elif not can_draw():
        raise ImportError(MISSING, name="matplotlib")
    else:
        from rxotlp.bench.picture import draw

        draw(found, path)
    return path
