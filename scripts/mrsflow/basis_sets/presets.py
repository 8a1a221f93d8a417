"""Named sequences with published timing and pulses (`presets.yaml`), and what a protocol lacks for a simulation."""

from functools import cache
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError

TABLE = Path(__file__).with_name("presets.yaml")
FREE_WIDTHS = ("sinc", "hyperbolic_secant")
"""Pulse shapes whose bandwidth is free; that of the others goes with their duration."""
NEEDED = {"press": "te1_ms", "semi_laser": "refocusing", "steam": "mixing_time_ms"}
"""Key of a protocol without which its basis set cannot be simulated."""


@cache
def table() -> dict[str, Any]:
    """Content of the table: pulses and presets."""
    import yaml

    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def filled(protocol: dict[str, Any], name: str) -> dict[str, Any]:
    """Give a protocol the timing and pulses of its preset where it says none itself.

    Parameters
    ----------
    protocol : dict
        Entry `name` of ``protocols`` of the configuration, with every key.

    Returns
    -------
    dict
        The same, with ``te1_ms``, ``mixing_time_ms`` and ``refocusing`` of the preset.

    Raises
    ------
    InputError
        The preset is of another sequence, or not for this echo time; a pulse has too much or too little said.
    """
    key, chosen = f"protocols.{name}", protocol["preset"]
    preset = {"sequence": "any"} if chosen is None else table()["presets"][chosen]
    if preset["sequence"] not in ("any", protocol["sequence"]):
        raise InputError(
            f"{key}.preset is {chosen!r}, which is {preset['sequence']}; sequence is {protocol['sequence']!r}: use "
            f"{', '.join(_of(protocol['sequence'])) or 'a basis set file'}"
        )
    echo, longest = protocol["echo_time_ms"], preset.get("longest_echo_time_ms")
    if longest and protocol["te1_ms"] is None and echo > longest:
        raise InputError(
            f"{key}: the timing of preset {chosen!r} is known for echo times up to {longest:g} ms, and echo_time_ms is "
            f"{echo:g}; give te1_ms as well"
        )
    values = dict(preset, te1_ms=echo - preset["te2_ms"]) if "te2_ms" in preset else preset
    full = protocol | {k: values[k] for k in NEEDED.values() if protocol[k] is None and k in values}
    if full["refocusing"]:
        full["refocusing"] = _checked_pulse(full["refocusing"], f"{key}.refocusing")
    return full


def _of(sequence: str) -> list[str]:
    """Names of the presets of a sequence."""
    return [name for name, preset in table()["presets"].items() if preset["sequence"] in ("any", sequence)]


def _checked_pulse(pulse: dict[str, Any], key: str) -> dict[str, Any]:
    """Refuse a pulse with both or neither of shape and file, or without the bandwidth that its shape leaves free."""
    pulse = {"shape": None, "file": None, "bandwidth_hz": None, "carrier_ppm": 3.0, "flip_deg": 180, **pulse}
    if (pulse["shape"] is None) == (pulse["file"] is None):
        raise InputError(f"{key}: give either shape or file, a table of the pulse")
    free = pulse["shape"] in FREE_WIDTHS
    if free != (pulse["bandwidth_hz"] is not None):
        what = f"shape {pulse['shape']!r}" if pulse["shape"] else "a pulse from a file"
        raise InputError(
            f"{key}.bandwidth_hz is needed for {what}"
            if free
            else f"{key}.bandwidth_hz is no choice for {what}: its duration decides it; leave it out"
        )
    return pulse


def refuse_unknown_timing(protocols: dict[str, dict[str, Any]]) -> None:
    """Refuse protocols whose basis set, or an addition to it, is to be simulated and whose timing is not known.

    Parameters
    ----------
    protocols : dict
        As `filled` gives them.

    Raises
    ------
    InputError
        Names all of them in one line, with the presets there are.
    """
    lacking = [
        f"{name} ({protocol['sequence']}: preset {', '.join(_of(protocol['sequence']))}; or "
        f"{NEEDED[protocol['sequence']]})"
        for name, protocol in protocols.items()
        if (not protocol["basis"] or protocol.get("extra_signals"))
        and protocol["sequence"] in NEEDED
        and protocol[NEEDED[protocol["sequence"]]] is None
        and (protocol["preset"] is None or protocol["sequence"] == "steam")
    ]
    if lacking:
        raise InputError(
            "timing and pulses differ between scanners, and protocols does not say them for "
            f"{'; '.join(lacking)}. Name the preset of the scanner's sequence, or give its times, or a basis set file"
        )
