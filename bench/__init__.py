"""Measurements: peers beside us in one run, outputs checked equal before a clock starts. See README.md here."""
