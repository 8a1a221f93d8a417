"""Constants with unit and source. One set is in use; config may override what a lab measures itself."""

WATER_PPM = 4.65
"""Chemical shift of water at body temperature (ppm), the zero of the frequency axis; FSL-MRS and LCModel use it."""

GAMMA_1H = 42.576
"""Gyromagnetic ratio of 1H over 2π (MHz/T)."""

REFERENCE_PPM = {"NAA": 2.008, "Cr": 3.027, "Cho": 3.21, "Glx": 2.35}
"""Shifts of the reference resonances (ppm): Govindaraju et al. 2000, NMR Biomed. 13:129."""
