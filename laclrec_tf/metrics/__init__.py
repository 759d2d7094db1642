"""Metrics of ranked lists, by group, their calibration and their significance."""
