"""Keeps one Reactor session open until its work is complete or the program gets a signal, and then ends it."""

import asyncio
import json
import os
import signal
import sys

from reactor_sdk import Reactor, ReactorError


def report(line):
    """Reports one value to the operator, in the pod's termination message."""
    with open("/dev/termination-log", "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


async def work(reactor):
    """Runs the session. Put your program here."""
    await reactor.connect()
    await asyncio.Event().wait()


async def main():
    # Without a handler, Python as PID 1 ignores SIGTERM. The kubelet then kills it after the grace period, with its session open.
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)

    reactor = Reactor(
        model_name=os.environ["REACTOR_MODEL"],
        api_key=os.environ["REACTOR_API_KEY"],
        api_url=os.environ["REACTOR_API_URL"],
    )
    reactor.on("session_id_changed", lambda id: id and report({"sessionId": id}))

    working = asyncio.create_task(work(reactor))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()  # raises the error that ended it
    except ReactorError as error:
        report({"error": {"code": error.code, "status": error.status, "message": str(error)[:500]}})
        raise
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)
        # Do not use "async with": after a dropped connection it would leave the session open.
        await reactor.disconnect()
        reactor.close()
    # Exit code 0 would mean that the work is complete, even after a node drain.
    return 143 if stop.is_set() else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
