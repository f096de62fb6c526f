"""What rows of older schemas leave unsaid: settings of measures at their defaults. Light.

Up to schema 3 the column `parameters` held only what differed from the defaults of its day. Those
stand here, so that a default that changes later changes no old row; and so do settings that came
later, at the value that is the behaviour before they existed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

COMPLETE_SINCE = 6
"""The first schema whose `parameters` say all that today's do."""

_WHEN: dict[str, Any] = {"every_epochs": None, "every_steps": None}
_ALONG: dict[str, Any] = {"examples": None, **_WHEN}
_AT_END: dict[str, Any] = {"examples": None}
DEFAULTS: dict[str, dict[str, Any]] = {
    "evaluation": {"every_epochs": 1, "every_steps": None, "train_examples": None},
    "sharpness": {"sharpness_epsilon": 0.001, "subspace_dim": None, **_ALONG},
    "hessian": {
        "eigenvalues": 1,
        "bottom": True,
        "gradient_variance": False,
        "trace_samples": 30,
        **_ALONG,
    },
    "noise-scale": {"small_batch_size": 32, "large_batch_size": 512, "pairs": 100, **_ALONG},
    "layers": {"every_epochs": 1, "every_steps": None, "curvature_samples": 0, "examples": None},
    "gradient-probe": {
        "at": "end",
        "batch_sizes": [32, 64, 128, 256, 512, 1024],
        "draws": 20,
        **_ALONG,
    },
    "adaptive-sharpness": {"relative_radius": 0.01, **_ALONG},
    "interpolation": {"path": "linear", "points": 25, "alpha_min": -1, "alpha_max": 2, **_AT_END},
    "landscape": {"points": 21, "reach": 1, **_AT_END},
    "spectrum": {"lanczos_steps": 40, "vectors": 4, **_ALONG},
    "distance": _WHEN,
    "random-directions": {"directions": 100, "relative_radius": 0.5, "steep_rise": 0.1, **_ALONG},
    "batch-sharpness": {"batches": 50, "batch_size": None, **_ALONG},
}
"""By measure, as they were before they could be said."""


def completed(parameters: Sequence[str | None]) -> list[str | None]:
    """The column `parameters` of an older schema with the defaults of its day written out."""
    known: dict[str | None, str | None] = {None: None}
    for text in parameters:
        if text not in known:
            settings = json.loads(text or "{}")
            defaults = DEFAULTS.get(settings.get("name"), {})
            known[text] = json.dumps(defaults | settings, sort_keys=True)
    return [known[text] for text in parameters]
