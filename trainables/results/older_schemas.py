"""What rows of older schemas leave unsaid: settings of measures at their defaults. Light.

Up to schema 3 the column `parameters` held only what differed from the defaults of its day. Those
stand here, so that a default that changes later changes no old row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

COMPLETE_SINCE = 4
"""The first schema whose `parameters` say everything."""

_ALONG: dict[str, Any] = {"examples": None, "every_epochs": None}
DEFAULTS: dict[str, dict[str, Any]] = {
    "evaluation": {"every_epochs": 1, "train_examples": None},
    "sharpness": {"sharpness_epsilon": 0.001, "subspace_dim": None, **_ALONG},
    "hessian": {"eigenvalues": 1, "bottom": True, "trace_samples": 30, **_ALONG},
    "noise-scale": {"small_batch_size": 32, "large_batch_size": 512, "pairs": 100, **_ALONG},
    "layers": {"every_epochs": 1, "every_steps": None, "curvature_samples": 0, "examples": None},
    "gradient-probe": {
        "at": "end",
        "batch_sizes": [32, 64, 128, 256, 512, 1024],
        "draws": 20,
        **_ALONG,
    },
    "adaptive-sharpness": {"relative_radius": 0.01, **_ALONG},
    "interpolation": {"path": "linear", "points": 25, "alpha_min": -1, "alpha_max": 2, **_ALONG},
    "landscape": {"points": 21, "reach": 1, **_ALONG},
    "spectrum": {"lanczos_steps": 40, "vectors": 4, **_ALONG},
    "distance": {"every_epochs": None},
    "random-directions": {"directions": 100, "relative_radius": 0.5, "steep_rise": 0.1, **_ALONG},
    "batch-sharpness": {"batches": 50, "batch_size": None, **_ALONG},
}
"""By measure, as they were under schema 3."""


def completed(parameters: Sequence[str | None]) -> list[str | None]:
    """The column `parameters` of an older schema with the defaults of its day written out."""
    known: dict[str | None, str | None] = {None: None}
    for text in parameters:
        if text not in known:
            settings = json.loads(text or "{}")
            defaults = DEFAULTS.get(settings.get("name"), {})
            known[text] = json.dumps(defaults | settings, sort_keys=True)
    return [known[text] for text in parameters]
