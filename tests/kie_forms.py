"""In which of KIE's forms the tests of paying once run: in both where everything runs, otherwise in the default one."""

from __future__ import annotations

import os
from collections.abc import Mapping

BOTH = ("unified", "dedicated")
"""KIE's forms, the default one first."""
OTHER: Mapping[str, str] = dict(zip(BOTH, BOTH[::-1], strict=True))
FULL = bool(os.environ.get("KIE_BOTH_FORMS"))
"""``./run test --full`` sets the variable."""
FORMS = BOTH if FULL else BOTH[:1]
