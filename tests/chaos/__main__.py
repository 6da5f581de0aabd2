"""`make chaos`: break the service in twelve ways, and count what comes out.

python -m tests.chaos --size small|large --seed 7 --only R1,R3
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import click

from tests.chaos import report
from tests.chaos.ledger import Outcome
from tests.chaos.plan import Plan, Size, Skipped
from tests.chaos.scenarios.catalog import SCENARIOS
from worker import logs


def run(name: str, size: Size, seed: int, folder: Path, patience: float = 1.0) -> Outcome:
    """One scenario on an installation of its own, below `folder`."""
    started_s = time.monotonic()
    try:
        outcome = SCENARIOS[name](Plan(name=name, size=size, seed=seed, folder=folder, patience=patience))
    except Skipped as reason:
        return Outcome(name=name, skipped=str(reason))
    except Exception as error:
        # What had to happen before the counting did not. The other scenarios of a long run shall have their turn.
        traceback.print_exc()
        outcome = Outcome(name=name)
        outcome.mark(False, repr(error))
    outcome.took_s = time.monotonic() - started_s
    return outcome


@click.command()
@click.option("--size", type=click.Choice(["small", "large"]), default="small")
@click.option("--seed", type=int, default=None, help="That of an earlier run: the same faults again.")
@click.option("--only", default="", help="Names of scenarios: R1,R3.")
@click.option("--patience", type=float, default=1.0, help="Stretches the marks of time, on a slow machine.")
@click.option("--keep", is_flag=True, help="Keep the logs, also when all is well.")
def main(size: Size, seed: int | None, only: str, patience: float, keep: bool) -> None:
    """Run the scenarios; the exit code is 1 when a mark is missed."""
    logs.configure("ERROR")  # what runs in this process, such as the sweeper of R12, shall not write into the table
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    names = only.split(",") if only else list(SCENARIOS)
    click.echo(f"chaos: size {size}, seed {seed}: {' '.join(names)}")
    outcomes = []
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        outcome = run(name, size, seed, folder, patience)
        outcomes.append(outcome)
        click.echo(report.line(outcome))
        if keep or not outcome.passed:
            click.echo(f"  logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    click.echo("\n" + report.table(outcomes))
    sys.exit(not all(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    main()
