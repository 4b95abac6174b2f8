"""Which tests are for a long evening: ``make faults`` sets the variable, ``make test`` does not."""

from __future__ import annotations

import os

import pytest

VARIABLE = "FAULTS_AT_LENGTH"
AT_LENGTH = bool(os.environ.get(VARIABLE))

at_length = pytest.mark.skipif(not AT_LENGTH, reason=f"takes minutes; set {VARIABLE}=1")
