"""Make the basis set of a protocol."""

from functools import partial
from pathlib import Path

from mrsflow.run import run


def main(config: str, protocol: str, out: Path, cache: Path | None = None) -> None:
    """Make the basis set of a protocol: simulated, or the file that the configuration names, checked.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    protocol : str
        Name of the protocol.
    out : Path
        LCModel .BASIS file to write.
    cache : Path, optional
        Folder that keeps simulated sets, for shaped pulses, which take longer.
    """
    from mrsflow.basis_sets import basis, basis_formats, extra_signals, macromolecules, presets, sequences
    from mrsflow.errors import InputError
    from mrsflow.study import config as study_config
    from mrsflow.study import records, variants

    settings = study_config.load(config)
    protocols = settings["protocols"]
    if protocol not in protocols:
        raise InputError(f"config has no protocol {protocol!r}; it has {', '.join(protocols)}")
    chosen = protocols[protocol]
    presets.refuse_unknown_timing({protocol: chosen})
    wanted = study_config.macromolecules_of(chosen)
    frequency = chosen["spectrometer_frequency_mhz"]
    if chosen["basis"]:
        made = basis_formats.load(chosen["basis"])
        basis.check_field(made, frequency, chosen["nucleus"])
        basis.check_echo_time(made, chosen["echo_time_ms"] / 1e3)
        made = macromolecules.chosen(made, wanted)
    else:
        sequence = sequences.Sequence.from_protocol(chosen)
        simulate = sequences.simulate if cache is None else partial(sequences.cached, cache)
        made = simulate(sequence, frequency, macromolecules=wanted == "default")
        if wanted != "default":
            made = macromolecules.chosen(made, wanted)
    if extra := chosen.get("extra_signals"):
        made = extra_signals.add(made, tuple(extra), sequences.Sequence.from_protocol(chosen))
    basis_formats.write_basis(made, out)
    if "output" in settings and out.is_relative_to(settings["output"]):
        below = variants.basis_of(out.parent.name)
        key = f"{below}_{protocol}" if below else protocol
        records.record_step(Path(settings["output"]), "simulate_basis", [out], key)


if __name__ == "__main__":
    run(main)
