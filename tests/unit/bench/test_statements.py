"""PostgreSQL's log of statements, as the benchmarks count it."""

from bench.service.statements import Statement, parse, split

LOG = """\
1764064800.120|71|api|LOG:  statement: BEGIN
1764064800.121|71|api|LOG:  execute _pg3_0: WITH sent AS (SELECT 1)
\tINSERT INTO job_logs VALUES (1)
1764064800.121|71|api|DETAIL:  Parameters: $1 = '{}'
1764064800.122|72|api|LOG:  execute <unnamed>: SELECT id, message
\tFROM job_logs
1764064800.122|71|api|LOG:  statement: SELECT pg_notify('jobs', '1')
1764064800.123|71|api|LOG:  statement: COMMIT
1764064800.125||postgres|LOG:  checkpoint starting: time
1764064800.130|72|api|LOG:  statement: BEGIN
1764064800.131|72|api|LOG:  statement: SELECT 2
1764064800.500|73|dispatcher|LOG:  statement: SELECT 3
"""


def test_entries_keep_their_further_lines() -> None:
    texts = [each.text for each in parse(LOG)]
    assert "WITH sent AS (SELECT 1)\n\tINSERT INTO job_logs VALUES (1)" in texts
    assert "SELECT id, message\n\tFROM job_logs" in texts


def test_only_statements_are_taken() -> None:
    assert [each.backend for each in parse(LOG)] == [71, 71, 72, 71, 71, 72, 72, 73]


def test_an_entry_tells_when_and_whose() -> None:
    *_, last = parse(LOG)
    assert last == Statement(1764064800.5, 73, "dispatcher", "SELECT 3")


def test_a_transaction_that_writes_lines_counts_as_a_whole() -> None:
    # Two in the writing one; the read, the one of a transaction that has not ended, the dispatcher's.
    assert split(parse(LOG)) == (2, 3)
