"""Numbers and names as text, the same in sentences, in tables and on the page.

No more digits than say something, and small numbers as powers of ten.
"""

from __future__ import annotations

import math
import re
from typing import Any

from trainables.task import Metric

NONE = "\N{EN DASH}"
"""Where there is no number: not run or not measured, never zero."""
MAX_NAMES = 4
"""Arms, or cells, that a sentence names one by one; of more only the count is given."""
TIMES = "\N{MULTIPLICATION SIGN}"


def number(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits: 0.065, 2.3e-4, 16400, 1e-3; a dash for none."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return str(value)
    rounded = float(f"{value:.{digits}g}")
    mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
    short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"{short}e{int(exponent)}"
    plain = f"{rounded:g}"
    is_small = 0 < abs(rounded) < 1 and len(power) < len(plain)
    return power if is_small or "e" in plain else plain


def bounded(estimate: float, low: float, high: float) -> str:
    """A number with its interval, `-0.833 [-0.908, -0.757]`; without one alone, a dash for none."""
    bounds = "" if math.isnan(low) else f" [{number(low)}, {number(high)}]"
    return number(estimate) + bounds


def whole(value: Any) -> str:
    """A number without decimals; a dash for none."""
    return NONE if value is None or math.isnan(value) else f"{value:.0f}"


def signed(value: float) -> str:
    """A number between -1 and 1, such as a correlation, with its sign; a dash for none."""
    return NONE if math.isnan(value) else f"{value:+.2f}"


def p_value(p: Any, is_bound: bool = False) -> str:
    """A p value with three digits, none below 0.001.

    Args:
        p: The p value.
        is_bound: Whether no smaller one could come out of so many drawn permutations; then the
            next larger number of one digit is given as a bound: "< 0.003" for 0.0024.
    """
    if p is None or math.isnan(p):
        return NONE
    if not is_bound:
        return f"{p:.3g}" if p >= 1e-3 else "< 0.001"
    unit = 10.0 ** math.floor(math.log10(p))
    above = unit * (math.floor(p / unit + 1e-9) + 1)
    return f"< {f'{above:.1g}' if above >= 1e-3 else number(above, 1)}"


def equation(p_text: str) -> str:
    """`p = 0.02` or `p < 0.003`."""
    return f"p {p_text}" if p_text.startswith("<") else f"p = {p_text}"


def setting(value: Any) -> str:
    """A setting's value as a study file has it, short."""
    if isinstance(value, tuple):
        return "[" + " ".join(setting(v) for v in value) + "]"
    if value is None or value != value:
        return "none"
    return number(value, 6) if isinstance(value, float) else str(value)


def words(label: str) -> str:
    """A label or column as words: `Hessian top eigenvalue`."""
    return label.replace("_", " ").replace("hessian", "Hessian").replace("ritz", "Ritz")


def title(label: str) -> str:
    """`words` that begin a sentence."""
    text = words(label)
    return text[0].upper() + text[1:]


def under(settings: str) -> str:
    """` with base_lr=0.1`: what to add where there are settings."""
    return f" with {settings}" if settings else ""


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in [", ".join(parts[:-1]), parts[-1]] if part)


def counted(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def percent_level(level: float) -> str:
    """A confidence level: `95 %`, `98.75 %`."""
    return f"{100 * level:.4g} %"


def headed(name: str, unit: str) -> str:
    """A column's head: `gap, points`, or the name alone where there is no unit."""
    return f"{name}, {unit}" if unit else name


def axis(column: str, metric: Metric) -> str:
    """An axis's label: `test_accuracy (%)`."""
    return f"{column} ({metric.unit})" if metric.unit else column


def unbroken(text: str) -> str:
    """Text of which no line begins with a percent sign, or with the exponent of 1e-3."""
    joined = re.sub(r"(?<=\de-)(?=\d)", "\N{WORD JOINER}", text)
    return joined.replace(" %", "\N{NO-BREAK SPACE}%")
