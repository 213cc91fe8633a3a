"""The command line: `python -m bench compare` and `python -m bench install`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench._compare import CellResult, Limits, compare_cell
from bench._install import ROOT, Environment, prepare_environment
from bench._registry import PEERS, Peer, find_peers
from bench._report import cell_table, write_report
from bench._workloads import Cell, select

__all__ = ["main"]

RESULTS = ROOT / "bench" / "results"
TOY = Limits(rounds=2, turn=0.01, calls=5, first=120.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: what follows `python -m bench`; by default, those of this process.

    Returns:
        0 if all is well, 1 if values are wrong or a worker failed, 2 on bad options.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        peers = find_peers(_split(options.peers))
        if options.command == "install":
            return _install(peers, fresh=options.fresh)
        cells = select(_split(options.workloads), _split(options.sizes), toy=options.toy)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    command = shlex.join(["python", "-m", "bench", *given])
    return _compare(peers, cells, _limits(options), command, options.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="make the environment of each peer")
    compare = commands.add_parser("compare", help="time the peers side by side")
    for command in (install, compare):
        command.add_argument("--peers", default="", help=f"comma-separated: {', '.join(PEERS)}")
    install.add_argument("--fresh", action="store_true", help="install again, newest versions")
    compare.add_argument("--workloads", default="", help="comma-separated; w1 stands for all w1-*")
    compare.add_argument("--sizes", default="", help="comma-separated n, nxBATCH, nxBATCHxLAYERS")
    compare.add_argument("--toy", action="store_true", help="seconds, to see that it works")
    compare.add_argument("--rounds", type=int, help="turns of every worker")
    compare.add_argument("--starts", type=_positive, help="processes that a first step is timed in")
    compare.add_argument("--limit", type=float, help="seconds for a first step")
    compare.add_argument("--output", type=Path, help="markdown file; JSON is written beside it")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but is {number}")
    return number


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _limits(options: argparse.Namespace) -> Limits:
    start = TOY if options.toy else Limits()
    changes = {"rounds": options.rounds, "first": options.limit, "starts": options.starts}
    given = {name: value for name, value in changes.items() if value is not None}
    return Limits(**{**asdict(start), **given})


def _install(peers: list[Peer], *, fresh: bool) -> int:
    homes = {peer.home: peer for peer in reversed(peers)}
    problems = 0
    for name, peer in reversed(homes.items()):
        environment = prepare_environment(peer, fresh=fresh)
        problems += environment.python is None
        print(f"{name:<14} {environment.problem or environment.python}")
    return int(problems > 0)


def _compare(
    peers: list[Peer], cells: list[Cell], limits: Limits, command: str, output: Path | None
) -> int:
    if PEERS["numpy"] not in peers:
        peers = [*peers, PEERS["numpy"]]  # values are always checked
    ready = {peer.name: (peer, prepare_environment(peer)) for peer in peers}
    results: list[CellResult] = []
    for number, cell in enumerate(cells, start=1):
        print(f"{number}/{len(cells)} {cell.workload}, {cell.label()}", file=sys.stderr)
        results.append(compare_cell(cell, ready, limits))
        print(cell_table(results[-1]), flush=True)
        if output is not None:
            write_report(results, command, output, asdict(limits))  # after each, to lose nothing
    return _verdict(results, ready)


def _verdict(results: list[CellResult], ready: dict[str, tuple[Peer, Environment]]) -> int:
    wrong = [(result.cell, row) for result in results for row in result.rows if row.has_failed]
    for cell, row in wrong:
        print(f"bench: {row.peer}, {cell.workload}: {row.status}: {row.reason}", file=sys.stderr)
    if not wrong:
        print(f"{len(results)} cells, {len(ready)} peers: no wrong values.", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
