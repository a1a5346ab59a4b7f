"""Load a few workers, break everything at random, and check that nothing was lost: `make chaos`.

Uses only loopback, and ends by itself. The exit status is 0 if every count that must be 0 is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp

from tests.chaos.clock import PATTERN, library
from tests.chaos.faults import KINDS, havoc
from tests.chaos.leaks import figures, leaks, settled
from tests.chaos.readers import Client
from tests.chaos.stack import Stack, running
from tests.chaos.stored import verify

MUST_BE_NONE = [
    "lost messages",
    "duplicated messages",
    "messages that nobody sent",
    "messages out of order",
    "missing events",
    "duplicated events",
    "streams without an end",
    "done without a stored answer",
    "tokens seen and neither stored nor reset",
    "tokens lost though no worker was killed",
    "answers interrupted though no worker was away",
    "stored answers other than seen",
    "stored answers that nobody gave",
    "stored answers cut short",
    "generations still running",
    "workers that ended by themselves",
    "leaked tasks",
    "leaked database connections",
    "leaked descriptors",
]
LAST_ANSWERS_SECONDS = 120


async def run(options: argparse.Namespace) -> int:
    """Run everything, and return the exit status."""
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="chat-api-chaos-") as folder:
        async with (
            running(
                Path(folder),
                options.workers,
                options.rate,
                replicated="failover" in options.only,
                libfaketime=library() if "clock" in options.only else None,
            ) as stack,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            before = [await figures(session, worker) for worker in stack.workers]
            urls = [worker.url for worker in stack.workers]
            chance = random.Random(options.seed)
            clients = [
                Client(session, urls, wrong, seen, random.Random(chance.random()))
                for _ in range(options.streams)
            ]
            random.seed(options.seed)
            until = asyncio.get_running_loop().time() + options.seconds
            runs = [asyncio.create_task(client.run(until, options.tokens)) for client in clients]
            await havoc(stack, options.only, until)
            _, unended = await asyncio.wait(runs, timeout=LAST_ANSWERS_SECONDS)
            wrong["streams without an end"] += len(unended)
            for each in unended:
                each.cancel()
            await settled(stack.servers, wrong)
            stories = await verify(stack, clients, wrong, seen)
            await session.close()
            wrong["workers that ended by themselves"] = sum(worker.has_ended for worker in stack.workers)
            await leaks(stack, before, wrong)
            report(options, clients, wrong, seen, stack, stories)
            for each in runs:
                if not each.cancelled():
                    each.result()
    return int(any(wrong.values()))


def report(
    options: argparse.Namespace,
    clients: list[Client],
    wrong: Counter[str],
    seen: Counter[str],
    stack: Stack,
    stories: list[str],
) -> None:
    """Print the results."""
    answers = sum(len(client.transcripts) for client in clients)
    write = sys.stdout.write
    write(f"{options.streams} live streams, {options.workers} workers, {options.seconds} s")
    write(f" (seed {options.seed})\n")
    done = [
        f"{count} {what}" + (f" ({stack.lasted[what]} s)" if what in stack.lasted else "")
        for what, count in sorted(stack.done.items())
    ]
    write(f"  {answers} answers; {', '.join(done)}\n")
    write("  " + ", ".join(f"{what}: {n}" for what, n in sorted(seen.items())) + "\n")
    for what in MUST_BE_NONE:
        write(f"{wrong[what]:>6} {what}\n")
    for each in stories[:5]:
        write(f"  {each}\n")
    for line in [line for worker in stack.workers for line in worker.complaints()][:20]:
        write(f"  log: {line[:300]}\n")


def kinds(text: str) -> list[str]:
    """The faults that a list names."""
    names = text.split(",")
    if unknown := set(names) - set(KINDS):
        raise argparse.ArgumentTypeError(f"no such kind: {', '.join(sorted(unknown))}")
    return names


def main() -> int:
    """Read the options and run."""
    names = "\n".join(f"  {name:<12} {fault.__doc__}" for name, fault in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description=f"{__doc__}\nThe kinds of faults:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--streams", type=int, default=200, help="clients at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=120, help="how long to break things (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, default=300, help="longest answer (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=20, help="tokens a second and stream (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the dice")
    parser.add_argument(
        *("--only",), action="extend", type=kinds, metavar="KIND", help="only these kinds: repeatable, or a,b"
    )
    options = parser.parse_args()
    options.only = list(dict.fromkeys(options.only or KINDS))
    if "clock" in options.only and library() is None:
        sys.stdout.write(f"clock is left out: libfaketime isn't installed (/usr/{PATTERN})\n")
        options.only.remove("clock")
    if not options.only:
        return 1
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
