"""In which of KIE's forms the tests of paying once run: in both where everything runs, otherwise in the default one."""

from __future__ import annotations

import os

FORMS = ("dedicated", "unified") if os.environ.get("KIE_BOTH_FORMS") else ("unified",)
"""``./run test --full`` sets the variable."""
