"""Which combinations of a test's tables the quick suite runs, where all of them would be long.

``@pytest.mark.covering(1)`` on a test with several ``parametrize``: each row of each table is run once in ``make test``.
``@pytest.mark.covering(2)``: each pair of rows of any two tables (pairwise testing). The other combinations are marked long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from operator import itemgetter

import pytest

Rows = Mapping[str, Hashable]
"""Which row of each table a case takes; a table is named by its arguments."""


def mark_long(items: Iterable[pytest.Item]) -> None:
    """Of each test that asks for it, mark the cases long which its covering set does not need; what is long already covers nothing."""
    tests: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        wanted = item.get_closest_marker("covering") is not None and item.get_closest_marker("long") is None
        if isinstance(item, pytest.Function) and wanted:
            tests[item.nodeid.split("[")[0]].append(item)
    for cases in tests.values():
        marker = cases[0].get_closest_marker("covering")
        assert marker is not None
        kept = set(covering([_rows(case) for case in cases], marker.args[0]))
        for number, case in enumerate(cases):
            if number not in kept:
                case.add_marker(pytest.mark.long)


def _rows(case: pytest.Function) -> Rows:
    """Rows by the identity of their values, which combinations share."""
    tables = [mark.args[0] for mark in case.iter_markers("parametrize")]
    named = {str(names): names.split(",") if isinstance(names, str) else names for names in tables}
    return {table: tuple(id(case.callspec.params[name.strip()]) for name in names) for table, names in named.items()}


def covering(cases: Sequence[Rows], strength: int) -> list[int]:
    """The numbers of cases that meet each combination of ``strength`` rows which any case meets: greedy, those first that bring most."""
    brings = [set(combinations(sorted(case.items(), key=itemgetter(0)), strength)) for case in cases]
    met: set[tuple[tuple[str, Hashable], ...]] = set()
    kept: list[int] = []
    for least in range(max(map(len, brings), default=0), 0, -1):
        for number, combination in enumerate(brings):
            if len(combination - met) >= least:
                met |= combination
                kept.append(number)
    return sorted(kept)
