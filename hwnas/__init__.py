"""Hardware-aware neural architecture search, calibrated on your own board."""

__version__ = "0.1.0"
