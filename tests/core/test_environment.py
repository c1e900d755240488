"""The environment: each variable, who wins, and what a bad value says."""

import pytest

from rxotlp._core.environment import GRPC, HTTP_JSON, HTTP_PROTOBUF, OtlpSettings, settings
from rxotlp.wire.signals import Signal

BASE = "OTEL_EXPORTER_OTLP_"


def read(
    signal: Signal = Signal.TRACES, protocol: str = HTTP_PROTOBUF, /, **variables: str
) -> OtlpSettings:
    return settings(signal, protocol, {BASE + name: value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("signal", "path"),
    [
        (Signal.TRACES, "v1/traces"),
        (Signal.METRICS, "v1/metrics"),
        (Signal.LOGS, "v1/logs"),
        (Signal.PROFILES, "v1development/profiles"),
    ],
)
def test_without_variables_the_defaults_are_the_specifications(signal: Signal, path: str) -> None:
    """Environment, S12: an exporter without any setting finds a local Collector."""
    assert settings(signal, HTTP_PROTOBUF, {}) == OtlpSettings(
        endpoint=f"http://localhost:4318/{path}",
        insecure=True,  # by the scheme
        certificate=None,
        client_key=None,
        client_certificate=None,
        headers={},
        compression="identity",
        timeout=10.0,
        protocol="http/protobuf",
    )
    assert settings(signal, GRPC, {}).endpoint == "http://localhost:4317"


def test_an_empty_variable_is_an_unset_one() -> None:
    """Environment: compose files and charts set variables to nothing."""
    names = ("ENDPOINT", "INSECURE", "CERTIFICATE", "HEADERS", "COMPRESSION", "TIMEOUT")
    assert read(**dict.fromkeys(names, ""), PROTOCOL="", TRACES_ENDPOINT=" ") == read()


@pytest.mark.parametrize(
    ("base", "endpoint"),
    [
        ("http://host:4318", "http://host:4318/v1/traces"),
        ("https://host", "https://host/v1/traces"),
        ("https://host/", "https://host/v1/traces"),
        ("https://host/otlp", "https://host/otlp/v1/traces"),
        ("https://host/otlp/", "https://host/otlp/v1/traces"),
        ("https://host/otlp?key=1", "https://host/otlp/v1/traces?key=1"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_a_general_endpoint_is_a_base_url(base: str, endpoint: str) -> None:
    """Environment: the signal's path is added, once and with one slash."""
    assert read(ENDPOINT=base).endpoint == endpoint
    assert read(Signal.TRACES, HTTP_JSON, ENDPOINT=base).endpoint == endpoint


@pytest.mark.parametrize(
    ("own", "endpoint"),
    [
        ("https://host/custom", "https://host/custom"),
        ("https://host/custom/", "https://host/custom/"),
        ("https://host/v1/traces", "https://host/v1/traces"),
        ("https://host", "https://host/"),
        ("https://host?key=1", "https://host/?key=1"),
    ],
)
def test_a_signals_own_endpoint_stands_as_it_is(own: str, endpoint: str) -> None:
    """Environment: adding v1/traces here would post to /v1/traces/v1/traces."""
    assert read(ENDPOINT="http://general", TRACES_ENDPOINT=own).endpoint == endpoint
    assert read(Signal.LOGS, TRACES_ENDPOINT=own).endpoint == "http://localhost:4318/v1/logs"


def test_the_signals_own_variable_wins_in_everything() -> None:
    """Environment: and headers are replaced, not merged: a key must not leak to another host."""
    general = {
        "CERTIFICATE": "/a",
        "CLIENT_KEY": "/b",
        "CLIENT_CERTIFICATE": "/c",
        "HEADERS": "api-key=general,x=1",
        "COMPRESSION": "gzip",
        "TIMEOUT": "1000",
        "PROTOCOL": "http/json",
    }
    own = {
        "LOGS_CERTIFICATE": "/d",
        "LOGS_CLIENT_KEY": "/e",
        "LOGS_CLIENT_CERTIFICATE": "/f",
        "LOGS_HEADERS": "api-key=logs",
        "LOGS_COMPRESSION": "none",
        "LOGS_TIMEOUT": "2500",
        "LOGS_PROTOCOL": "grpc",
    }
    logs = read(Signal.LOGS, **general, **own)
    assert (logs.certificate, logs.client_key, logs.client_certificate) == ("/d", "/e", "/f")
    assert (logs.headers, logs.compression) == ({"api-key": "logs"}, "identity")
    assert (logs.timeout, logs.protocol) == (2.5, "grpc")
    traces = read(Signal.TRACES, **general, **own)
    assert (traces.certificate, traces.client_key, traces.client_certificate) == ("/a", "/b", "/c")
    assert traces.headers == {"api-key": "general", "x": "1"}
    assert (traces.compression, traces.timeout, traces.protocol) == ("gzip", 1.0, "http/json")


def test_profiles_follow_the_general_variables() -> None:
    """Environment: the specification gives them none of their own."""
    profiles = read(Signal.PROFILES, ENDPOINT="https://host", PROFILES_ENDPOINT="https://other")
    assert profiles.endpoint == "https://host/v1development/profiles"


@pytest.mark.parametrize(
    ("endpoint", "insecure", "result"),
    [
        ("http://host:4317", "", True),
        ("http://host:4317", "false", True),
        ("https://host:4317", "true", False),
        ("HTTPS://host:4317", "true", False),
        ("host:4317", "", False),
        ("host:4317", "true", True),
        ("host:4317", "TRUE", True),
        ("dns:///host:4317", "true", True),
        ("unix:///run/otlp.sock", "false", False),
    ],
)
def test_the_scheme_decides_about_tls_and_insecure_where_there_is_none(
    endpoint: str, insecure: str, result: bool
) -> None:
    """Environment: secure unless somebody says otherwise; gRPC takes its own target forms."""
    found = read(Signal.TRACES, GRPC, ENDPOINT=endpoint, INSECURE=insecure)
    assert (found.endpoint, found.insecure) == (endpoint, result)


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("api-key=secret", {"api-key": "secret"}),
        (" Api-Key = secret , x=y ", {"api-key": "secret", "x": "y"}),
        ("a=b%2Cc%20d%3D,e=f", {"a": "b,c d=", "e": "f"}),
        ("Authorization=Basic dXNlcjpwYXNz==", {"authorization": "Basic dXNlcjpwYXNz=="}),
        ("a=b;c=d", {"a": "b;c=d"}),
        ("a=", {"a": ""}),
        ("a=1,", {"a": "1"}),
        ("a=1,a=2", {"a": "2"}),
        ("a=%C3%A9", {"a": "\u00e9"}),
    ],
)
def test_headers_are_baggage_without_properties(text: str, headers: dict[str, str]) -> None:
    """Environment: percent-decoded; a semicolon begins nothing, it is part of the value."""
    assert read(HEADERS=text).headers == headers


@pytest.mark.parametrize("text", ["secret", "=secret", "a b=secret", "a=secret%0d%0aevil: 1"])
def test_a_bad_header_is_refused_without_showing_it(text: str) -> None:
    """Environment: keys for backends live here, and messages end up in logs."""
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_HEADERS: ") as caught:
        read(HEADERS="fine=1," + text)
    assert "secret" not in str(caught.value)
    assert "expected" in str(caught.value)
    assert "2" in str(caught.value)


def test_a_repr_never_shows_header_values() -> None:
    """Environment: settings are logged at start."""
    assert "secret" not in repr(read(HEADERS="api-key=secret"))


@pytest.mark.parametrize(("text", "seconds"), [("10000", 10.0), ("250", 0.25), ("1.5", 0.0015)])
def test_a_timeout_is_in_milliseconds(text: str, seconds: float) -> None:
    """Environment: as the specification has it for every duration."""
    assert read(TIMEOUT=text).timeout == seconds


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ENDPOINT", "localhost:4318", "expected a URL such as"),
        ("ENDPOINT", "ftp://host", "expected a URL such as"),
        ("ENDPOINT", "http://", "expected a URL such as"),
        ("ENDPOINT", "http://host:port", "expected a URL such as"),
        ("ENDPOINT", "http://host:0", "expected a URL such as"),
        ("ENDPOINT", "http://host:99999", "expected a URL such as"),
        ("ENDPOINT", "http://[::1", "expected a URL such as"),
        ("ENDPOINT", "http://a b", "expected a URL such as"),
        ("INSECURE", "yes", "expected true or false"),
        ("COMPRESSION", "brotli", "expected none or one of gzip"),
        ("TIMEOUT", "10s", "expected milliseconds, more than 0"),
        ("TIMEOUT", "0", "expected milliseconds, more than 0"),
        ("TIMEOUT", "-5", "expected milliseconds, more than 0"),
        ("TIMEOUT", "nan", "expected milliseconds, more than 0"),
        ("TIMEOUT", "inf", "expected milliseconds, more than 0"),
        ("PROTOCOL", "http", "expected one of grpc, http/protobuf, http/json"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_was_expected(
    name: str, value: str, says: str
) -> None:
    """Environment: ignoring it would send data somewhere else than was meant."""
    for variable in (name, f"TRACES_{name}"):
        with pytest.raises(ValueError, match=says) as caught:
            read(**{variable: value})
        assert str(caught.value).startswith(f"{BASE}{variable}={value!r}: ")


def test_a_protocol_that_does_not_exist_is_the_callers_mistake() -> None:
    """Told apart from a variable's bad value."""
    with pytest.raises(ValueError, match=r"settings\(protocol_default='http'\): expected one of"):
        read(Signal.TRACES, "http")
