"""How often the reflectors of a process try a server that is away, all together."""

from __future__ import annotations

import asyncio

from onehop.adapters.kube.reflector import Pace

SPACING = 0.05
REFLECTORS = 10


async def tries(pace: Pace, seconds: float) -> int:
    """How often so many reflectors try in a time, each with short pauses of its own."""
    count = 0

    async def reflect() -> None:
        nonlocal count
        while True:
            await pace.pause(0.001)
            count += 1
            pace.failed()

    tasks = [asyncio.create_task(reflect()) for _ in range(REFLECTORS)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return count


def test_all_of_them_try_as_rarely_as_one() -> None:
    async def main() -> int:
        return await tries(Pace(SPACING), 10 * SPACING)

    # The first two tries follow their own pauses; a slow machine makes fewer, never more.
    assert 3 <= asyncio.run(main()) <= 2 + 10


def test_an_answer_releases_all_who_wait() -> None:
    async def main() -> float:
        pace = Pace(60.0)
        pace.failed()
        waiting = [asyncio.create_task(pace.pause(60.0)) for _ in range(REFLECTORS)]
        await asyncio.sleep(0)
        begin = asyncio.get_running_loop().time()
        pace.answered()
        await asyncio.gather(*waiting)
        return asyncio.get_running_loop().time() - begin

    assert asyncio.run(main()) < 5.0


def test_after_an_answer_the_first_pauses_are_short_again() -> None:
    async def main() -> None:
        pace = Pace(60.0)
        for _ in range(2):
            pace.failed()
            await pace.pause(0.001)
        waiting = [asyncio.create_task(pace.pause(60.0)) for _ in range(REFLECTORS)]
        await asyncio.sleep(0)
        pace.answered()
        await asyncio.gather(*waiting)
        for _ in range(2):
            pace.failed()
            async with asyncio.timeout(5.0):
                await pace.pause(0.001)

    asyncio.run(main())
