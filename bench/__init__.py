"""Measurements. Each module prints a table; README.md keeps the results and the commands."""
