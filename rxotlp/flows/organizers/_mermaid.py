"""Pictures of organizers, as Mermaid flowcharts."""

from collections.abc import Iterable, Mapping

__all__ = ["flowchart"]

_ESCAPES = {ord(sign): f"#{ord(sign)};" for sign in '"#<>&`\\|'}


def flowchart(
    nodes: Mapping[str, tuple[str, str, str]], edges: Iterable[tuple[str, str, str]]
) -> str:
    """A flowchart.

    Args:
        nodes: by id, the brackets and the label between them.
        edges: start, label (or nothing) and end.
    """
    names = {node: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for node, (before, label, after) in nodes.items():
        lines.append(f'  {names[node]}{before}"{label.translate(_ESCAPES)}"{after}')
    for start, label, end in edges:
        called = f'|"{label.translate(_ESCAPES)}"|' if label else ""
        lines.append(f"  {names[start]} -->{called} {names[end]}")
    return "\n".join(lines) + "\n"
