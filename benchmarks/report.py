"""Write the results as a page: the facts, the table of figures, and the numbers behind each ratio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.harness import Figure, number

_HEAD = """# Benchmark results

Written by `python -m benchmarks`. Every ratio is measured in turns within one run; a figure is the median over the
rounds, with the least and the most beside it.
"""


def page(facts: Mapping[str, str], figures: Sequence[Figure], *, judged: bool) -> str:
    """Return the whole page; bars are not `judged` in a quick run, whose sizes are too small for them."""
    parts = [_HEAD, "".join(f"- {name}: {value}\n" for name, value in facts.items()), table(figures, judged=judged)]
    parts += [f"## Verdict\n\n{verdict(figures, judged=judged)}\n", _behind(figures)]
    return "\n".join(parts)


def table(figures: Iterable[Figure], *, judged: bool) -> str:
    """Return the table of figures."""
    lines = [
        "## Figures",
        "",
        "| figure | against | median | least – most | bar | aim | |",
        "|---|---|---|---|---|---|---|",
        *(_row(figure, judged) for figure in figures),
        "",
    ]
    return "\n".join(lines)


def verdict(figures: Sequence[Figure], *, judged: bool) -> str:
    """Say in a few lines whether all bars hold, and which do not."""
    failed = [figure for figure in figures if figure.error or (judged and figure.holds is False)]
    missing = [figure for figure in figures if figure.missing]
    bars = sum(figure.holds is not None and not figure.error for figure in figures)
    said = f"{len(failed)} do not hold" if judged else f"none judged (quick run), {len(failed)} errors"
    lines = [f"{bars} bars measured, {said}."]
    lines += [f"- {figure.title}: {figure.error or 'does not hold'}" for figure in failed]
    lines += [f"- {figure.title}: missing, {figure.missing}" for figure in missing]
    return "\n".join(lines)


def passed(figures: Iterable[Figure], *, judged: bool) -> bool:
    """Say whether every figure was measured and every bar holds; what is missing does not count."""
    return not any(figure.error or (judged and figure.holds is False) for figure in figures)


def _row(figure: Figure, judged: bool) -> str:
    title = _cell(figure.title)
    if figure.error or figure.missing:
        word = f"**error**: {figure.error}" if figure.error else f"missing: {figure.missing}"
        return f"| {title} | {_cell(figure.against)} | | | | | {_cell(word)} |"
    unit = "" if figure.unit == "x" else figure.unit
    bar = figure.bar.spell(figure.bar.limit, unit) if figure.bar else ""
    aim = figure.bar.spell(figure.bar.aim, unit) if figure.bar else ""
    value = f"**{_short(figure.median)}** {unit}".rstrip()
    spread = f"{_short(min(figure.values))} – {_short(max(figure.values))}"
    return f"| {title} | {_cell(figure.against)} | {value} | {spread} | {bar} | {aim} | {_word(figure, judged)} |"


def _word(figure: Figure, judged: bool) -> str:
    if figure.bar is None:
        return "for information"
    if not judged:
        return "not judged"
    return "holds" if figure.holds else "**does not hold**"


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= abs(value) < 100 else number(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _behind(figures: Iterable[Figure]) -> str:
    lines = ["## Behind the figures", ""]
    for figure in figures:
        if figure.behind or figure.where:
            lines.append(f"- **{figure.title}**" + (f", on {figure.where}" if figure.where else ""))
            lines += [f"  - {line}" for line in figure.behind]
    return "\n".join(lines) + "\n"
