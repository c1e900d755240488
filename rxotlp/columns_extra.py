"""What columns need besides the core, or an error that says how to get it."""

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    from ptars import HandlerPool
    from pyarrow import acero
except ImportError as error:
    raise ImportError(
        f"columns need pyarrow and ptars ({error}): pip install 'rxotlp[arrow]'"
    ) from error

__all__ = ["HandlerPool", "acero", "pa", "pc"]
