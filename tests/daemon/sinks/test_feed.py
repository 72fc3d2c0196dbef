from __future__ import annotations

import asyncio
import threading

import pytest

from daemon.sinks.feed import Feed, JpegFeed


def test_a_thread_reaches_every_reader_in_order() -> None:
    async def main() -> list[list[int]]:
        feed: Feed[int] = Feed(1000)
        async with feed.subscribe() as one, feed.subscribe() as two:
            assert feed.subscribers == 2

            def publish() -> None:
                for number in range(1000):
                    feed.publish(number)
                feed.close()

            thread = threading.Thread(target=publish)
            thread.start()
            read = [[item async for item in one], [item async for item in two]]
            thread.join()
        assert feed.subscribers == 0
        return read

    assert asyncio.run(main()) == [list(range(1000))] * 2


def test_a_slow_reader_gets_the_newest_and_the_rest_is_counted() -> None:
    async def main() -> None:
        feed = JpegFeed()
        feed.publish(b"before anybody came")
        async with feed.subscribe() as reader:
            for number in range(10):
                feed.publish(b"%d" % number)
            assert await reader.next() == b"9"
            assert reader.dropped == 9
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.next(), 0.01)
            feed.publish(b"later")
            assert await asyncio.wait_for(reader.next(), 60.0) == b"later"

    asyncio.run(main())


def test_what_was_taken_back_reaches_no_reader() -> None:
    async def main() -> None:
        feed = JpegFeed()
        async with feed.subscribe() as reader:
            feed.publish(b"bare")
            feed.clear()
            feed.publish(b"covered")
            assert await asyncio.wait_for(reader.next(), 60.0) == b"covered"

    asyncio.run(main())


def test_a_waiting_reader_wakes_when_the_feed_closes() -> None:
    async def main() -> None:
        feed = JpegFeed()
        async with feed.subscribe() as reader:
            waiting = asyncio.create_task(anext(reader, b"the end"))
            await asyncio.sleep(0)
            await asyncio.to_thread(feed.close)
            assert await asyncio.wait_for(waiting, 60.0) == b"the end"
        async with feed.subscribe() as late:
            assert [item async for item in late] == []

    asyncio.run(main())


def test_a_reader_whose_loop_is_gone_harms_nobody() -> None:
    feed = JpegFeed()
    loop = asyncio.new_event_loop()
    subscription = feed.subscribe()
    loop.run_until_complete(subscription.__aenter__())
    loop.close()
    feed.publish(b"to nobody")
    assert feed.subscribers == 1
