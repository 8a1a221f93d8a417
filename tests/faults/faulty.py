"""A sound study, to be broken."""

CONFIG = {
    "study": {"design": "crossover", "conditions": ["placebo", "drug"]},
    "protocols": {
        "a": {
            "sequence": "press",
            "echo_time_ms": 30,
            "repetition_time_ms": 2000,
            "spectrometer_frequency_mhz": 127.73,
        }
    },
    "blocks": {"bins": {"baseline": [-8, 0], "infusion": [0, 8]}, "baseline": ["baseline"]},
}
TABLES = {
    "participants": "participant\tsex\tage\tweight\n01\tF\t31\t60\n02\tM\t28\t80\n",
    "sessions": "participant\tsession\tvisit\tarm\tinfusion_start\n"
    "01\t1\t1\tplacebo\t10:00:00\n01\t2\t2\tdrug\t10:00:00\n02\t1\t1\tdrug\t10:00:00\n",
    "samples": "participant\tsession\trole\tprotocol\traw\tstart_time\techo_time_ms\n"
    "01\t1\tsvs\ta\tx/1.dat\t09:50:00\t30\n01\t2\tsvs\ta\tx/2.dat\t09:50:00\t30\n02\t1\tsvs\ta\tx/3.dat\t09:50:00\t30\n",
}


def edit_bytes(path, places) -> None:
    """Turn over every bit of the bytes at some places of a file."""
    content = bytearray(path.read_bytes())
    for place in places:
        if place < len(content):
            content[place] ^= 0xFF
    path.write_bytes(content)
