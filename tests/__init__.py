"""Tests, laid out as the source tree is."""
