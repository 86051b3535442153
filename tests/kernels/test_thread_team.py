"""The thread team: everyone runs, errors come back, threads end with the team."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from hpcpgd.kernels.backends.thread_team import ThreadTeam


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_member_runs_once_at_the_same_time(size: int) -> None:
    meeting = threading.Barrier(size)
    with closing(ThreadTeam(size)) as team:
        for _ in range(20):
            seen: list[int] = []

            def meet(member: int, seen: list[int] = seen) -> None:
                meeting.wait(timeout=30)
                seen.append(member)

            team.run(meet)
            assert sorted(seen) == list(range(size))


@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_comes_back_and_the_team_goes_on(bad: int) -> None:
    def fail(member: int) -> None:
        if member == bad:
            raise ValueError(f"member {member}")

    seen: list[int] = []
    with closing(ThreadTeam(3)) as team:
        with pytest.raises(ValueError, match=f"member {bad}"):
            team.run(fail)
        team.run(seen.append)
    assert sorted(seen) == [0, 1, 2]


def test_threads_have_ended_when_the_team_is_closed() -> None:
    before = set(threading.enumerate())
    team = ThreadTeam(4)
    assert set(threading.enumerate()) == before  # a team that is thrown away has none
    team.run(lambda member: None)
    members = set(threading.enumerate()) - before
    assert len(members) == 3
    team.close()
    assert not any(thread.is_alive() for thread in members)
    team.close()  # again
    with pytest.raises(RuntimeError, match="closed"):
        team.run(lambda member: None)


def test_a_thread_that_still_works_is_waited_for() -> None:
    """As after Ctrl-C, which drives the caller out of its wait, not the thread out of its work."""
    team, ended = ThreadTeam(2), []
    begun = threading.Event()

    def work(member: int) -> None:
        if member == 1:
            begun.set()
            time.sleep(0.2)
            ended.append(member)

    def interrupted() -> bool:
        begun.wait(timeout=30)
        raise KeyboardInterrupt

    team.run(lambda member: None)
    team._members[0].done.acquire = interrupted  # type: ignore[method-assign,assignment]  # a signal
    with pytest.raises(KeyboardInterrupt):
        team.run(work)
    assert ended == []
    team.close()
    assert ended == [1]
