"""Texts about destinations."""

from rxotlp.exporters.text import clean, user_agent


def test_a_backends_text_becomes_one_printable_line() -> None:
    """A message with line breaks and escapes must not forge log lines or clear screens."""
    assert clean("no\r\n\troom \x1b[2J now") == "no room \N{REPLACEMENT CHARACTER}[2J now"


def test_a_backends_text_is_shortened() -> None:
    """A page of HTML in a log line helps nobody."""
    text = clean("x" * 1_000_000)
    assert len(text) == 300
    assert text.endswith("…")


def test_a_secret_that_a_backend_repeats_is_blanked() -> None:
    """`invalid token s3cr3t-key` is a popular answer, and logs are read by many."""
    assert clean("invalid token s3cr3t-key", secrets=["s3cr3t-key"]) == "invalid token ***"


def test_a_secret_at_the_cut_does_not_show_its_head() -> None:
    """Shortening must come after blanking, or half the secret survives."""
    assert "s3cr" not in clean("x" * 295 + "s3cr3t-key", secrets=["s3cr3t-key"])


def test_the_user_agent_names_us_as_c12_says() -> None:
    """C12: operators of backends tell clients apart by it."""
    assert user_agent().startswith("OTel-OTLP-Exporter-Python-rxotlp/")
