"""Protocol and study that are as small as the schema lets them be; tests say what differs."""

from typing import Any

PRESS = {
    "sequence": "press",
    "preset": "ideal",
    "echo_time_ms": 30,
    "repetition_time_ms": 2000,
    "spectrometer_frequency_mhz": 123.25,
}


def single_arm(**protocol: Any) -> dict[str, Any]:
    """Configuration, not yet checked, of a study with one protocol ``p`` and one block."""
    return {
        "study": {"design": "single_arm", "conditions": ["a"]},
        "protocols": {"p": PRESS | protocol},
        "blocks": {"bins": {"all": [0, 60]}},
    }
