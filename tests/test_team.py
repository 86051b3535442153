"""The thread team: everyone runs, errors come back, threads end with the team."""

from __future__ import annotations

import gc
import threading

import pytest

from hpcpgd.kernels.team import Team


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_member_runs_once_at_the_same_time(size: int) -> None:
    team = Team(size)
    meeting = threading.Barrier(size)
    for _ in range(20):
        seen: list[int] = []

        def meet(member: int, seen: list[int] = seen) -> None:
            meeting.wait(timeout=30)
            seen.append(member)

        team.run(meet)
        assert sorted(seen) == list(range(size))


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_comes_back_and_the_team_goes_on(bad: int) -> None:
    team = Team(3)

    def fail(member: int) -> None:
        if member == bad:
            raise ValueError(f"member {member}")

    with pytest.raises(ValueError, match=f"member {bad}"):
        team.run(fail)
    seen: list[int] = []
    team.run(seen.append)
    assert sorted(seen) == [0, 1, 2]


def test_threads_end_with_the_team() -> None:
    before = set(threading.enumerate())
    team = Team(4)
    team.run(lambda member: None)
    members = set(threading.enumerate()) - before
    assert len(members) == 3
    del team
    gc.collect()
    for thread in members:
        thread.join(timeout=30)
        assert not thread.is_alive()
