"""What a verdict says of arms: shares they close, who gets no word and why, whose seeds lived."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.conclude import shares
from analysis.conclusions import Gap, ShareClosed
from analysis.gaps import by_cell
from analysis.load import Study
from analysis.uncertainty import is_exploratory
from analysis.wording import MAX_NAMES, counted, listed, percent_level, under


def arms_sentence(study: Study, batch: int, gap: list[Gap]) -> str:
    """What the arms close, the largest share first; then those of which that cannot be said."""
    rows = [share for share in shares(study) if share.global_batch_size == batch]
    if not rows:
        return ""
    if len(gap) > 1:
        return _over_settings(rows)
    clauses = [_closing(rows, "closes", "closes"), _closing(rows, "recovers", "recovers at least")]
    for standing, verbs in _verbs(study).items():
        names = [_arm_name(row, gap) for row in rows if row.standing == standing]
        clauses += [_said(names, *verbs)] if names else []
    judged = [clause for clause in clauses if clause]
    text = "; ".join([*judged, _family(rows)]) + "." if judged else ""
    return " ".join(filter(None, [text, _not_judged(rows, gap), _survivors(rows)]))


def _arm_name(row: ShareClosed, gap: list[Gap]) -> str:
    same = gap and row.settings == gap[0].settings
    return str(row.arm) + ("" if same else under(row.settings))


def _verbs(study: Study) -> dict[str, tuple[str, str, str]]:
    """By standing: what one arm does, what several do, and what follows."""
    return {
        "lifts": ("recovers", "recover", "a share of the gap but cannot be said to close it"),
        "open": (
            *("recovers", "recover"),
            f"a share of the gap but did not run at {study.baseline_batch_size}",
        ),
        "unclear": ("has", "have", "no gain shown" if study.search else "no share shown"),
        "widens": ("widens", "widen", "the gap"),
    }


def _said(names: list[str], one: str, several: str, rest: str) -> str:
    return f"{_names(names)} {one if len(names) == 1 else several} {rest}"


def _closing(rows: list[ShareClosed], standing: str, verb: str) -> str:
    """The arms of one standing with their shares, the largest first."""
    own = sorted((row for row in rows if row.standing == standing), key=shown_share)[::-1]
    if not own:
        return ""
    texts = [f"{own[0].arm} {verb} {_share(own[0])} of the gap{_range(own[0])}"]
    texts += [f"{row.arm} {_share(row)}{_range(row)}" for row in own[1:MAX_NAMES]]
    if len(own) > MAX_NAMES:
        texts.append(f"{len(own) - MAX_NAMES} more less")
    return ", ".join(texts)


def shown_share(row: ShareClosed) -> float:
    """What is said of an arm: its share, or of a tuned one the least that it may be."""
    return float(row.low if row.standing == "recovers" else row.estimate)


def _share(row: ShareClosed) -> str:
    return f"{100 * shown_share(row):.0f} %"


def _range(row: ShareClosed) -> str:
    if row.standing == "recovers":
        return ""
    return f" ({100 * row.low:.0f} to {100 * row.high:.0f})"


def _family(rows: list[ShareClosed]) -> str:
    """How many comparisons share one level, and what qualifies their words."""
    families = dict.fromkeys((row.comparisons, row.level, row.looks) for row in rows)
    texts = [
        f"{counted(count, 'comparison')} at {percent_level(level)}"
        + (" each" if count > 1 else "")
        + (f", {looks} looks" if looks > 1 else "")
        for count, level, looks in families
    ]
    words = {row.exploratory for row in rows if row.standing != "not judged"} - {""}
    return ", ".join([*sorted(words), *texts])


def _not_judged(rows: list[ShareClosed], gap: list[Gap]) -> str:
    """The arms that get no word, by what forbids it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.standing == "not judged":
            reason = row.reason.removeprefix("not judged: ")
            names.setdefault(reason, []).append(_arm_name(row, gap))
    texts = [f"{_names(who)}: not judged, {why}" for why, who in names.items()]
    return "; ".join(texts) + "." if texts else ""


def _names(who: list[str]) -> str:
    """Arms by name, or how many of them; of one in several settings how many comparisons."""
    if len(set(who)) < len(who):
        return counted(len(who), "comparison")
    return listed(who) if len(who) <= MAX_NAMES else f"{len(who)} arms"


def _survivors(rows: list[ShareClosed]) -> str:
    """How many seeds lived, wherever any died."""
    dead = [r for r in rows if r.alive < r.ended or r.baseline_alive < r.baseline_ended]
    if not dead:
        return ""
    texts = [f"{row.arm} {row.alive} of {row.ended}" for row in dead[:MAX_NAMES]]
    texts += [f"{len(dead) - MAX_NAMES} more arms lost some"] if len(dead) > MAX_NAMES else []
    first = dead[0]
    kept = [row.arm for row in dead if row.keeps_alive]
    few = is_exploratory(min(row.ended for row in dead))
    keep = "keeps" if len(kept) == 1 else "keep"
    word = f"{keep} training alive{' (exploratory)' if few else ''}"
    baseline = f"the baseline {first.baseline_alive} of {first.baseline_ended}"
    return f"Seeds alive: {listed([*texts, baseline])}{f'; {listed(kept)} {word}' if kept else ''}."


def dead_sizes(study: Study) -> Iterator[str]:
    """The batch sizes at which all of the baseline arm died, and which arms lived there."""
    cells = by_cell.baseline_arm(by_cell.counts(study)).groupby("global_batch_size")
    counts = cells[["complete", "diverged"]].sum()
    for size, row in counts[(counts["complete"] == 0) & (counts["diverged"] > 0)].iterrows():
        seeds = counted(row["diverged"], "seed")
        yield f"At batch size {size} all {seeds} of the baseline diverged."
        yield _survivors([s for s in shares(study) if s.global_batch_size == size])


def _over_settings(rows: list[ShareClosed]) -> str:
    if all(row.standing == "not judged" for row in rows):
        return _not_judged(rows, [])
    said: dict[str, list[bool]] = {}
    for row in rows:
        said.setdefault(row.arm, []).append(row.standing in ("closes", "recovers"))
    texts = [f"{arm} in {sum(found)} of {len(found)}" for arm, found in said.items()]
    more = f" and {len(texts) - MAX_NAMES} more arms" if len(texts) > MAX_NAMES else ""
    return (
        f"A share of the gap is closed by {', '.join(texts[:MAX_NAMES])} comparisons{more} "
        f"({_family(rows)})."
    )
