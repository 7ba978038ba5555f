"""Campaigns of damaged input: `python tests/fuzz.py [--seed N] [--only NAMES] [--share S]`.

Each campaign makes cases from a seed, runs each in a process of its own, and judges it. The table
at the end says how many were right: the correct result, or one line of error. `--case N` runs one
case again.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # Forks keep one thread alone.

import torch  # noqa: E402

from pyrovae.config.building import instantiate  # noqa: E402
from pyrovae.config.options import parse_training, train_parser  # noqa: E402
from tests.fuzzing.base import (  # noqa: E402
    WARM,
    Campaign,
    Verdict,
    apart,
    command,
    run_campaign,
)
from tests.fuzzing.caches import Caches  # noqa: E402
from tests.fuzzing.images import Images  # noqa: E402
from tests.fuzzing.kills import Kills  # noqa: E402
from tests.fuzzing.lists import Lists  # noqa: E402
from tests.fuzzing.options import OptionLines, YamlFiles  # noqa: E402
from tests.fuzzing.runs import Checkpoints, Journals  # noqa: E402
from tests.support.commands import TINY  # noqa: E402

ALL = (Images, Lists, YamlFiles, OptionLines, Checkpoints, Caches, Journals, Kills)
CAMPAIGNS: dict[str, Campaign] = {kind.name: kind() for kind in ALL}


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Runs campaigns of damaged input.")
    parser.add_argument("--seed", type=int, default=0, help="decides all cases")
    parser.add_argument("--only", default=",".join(CAMPAIGNS), help="campaigns, with commas")
    parser.add_argument("--share", type=float, default=1.0, help="of each campaign's cases")
    parser.add_argument("--quick", action="store_true", help="a few cases of each")
    parser.add_argument("--case", type=int, help="runs this one alone")
    return parser.parse_args()


def row(verdict: Verdict) -> str:
    """A line of the table."""
    wrong = len(verdict.wrong)
    counts = (verdict.tried, verdict.tried - wrong, wrong)
    return f"{verdict.name:12}{''.join(f'{n:8,}' for n in counts)}{verdict.seconds:9.1f}"


def total(verdicts: list[Verdict]) -> Verdict:
    """All campaigns as one."""
    wrong = dict(enumerate(text for v in verdicts for text in v.wrong.values()))
    tried, seconds = sum(v.tried for v in verdicts), sum(v.seconds for v in verdicts)
    return Verdict("all", tried, wrong, seconds)


def warm_up(root: Path) -> None:
    """Imports and remembers what every case would.

    A fork trains: gradients are not for this process, whose forks would then have none.
    """
    parser, folder = train_parser(), root / WARM
    folder.mkdir()
    instantiate(parser, parse_training(parser, TINY))
    known = set(sys.modules)

    def train() -> None:
        command("train", *TINY, f"--run_dir={folder / 'run'}")
        shutil.copytree(folder / "run", folder / "other")
        command("evaluate", str(folder / "other"), "--num_samples=9", "--sections", "evidence")
        (folder / "modules").write_text("\n".join(sorted(set(sys.modules) - known)))

    if found := apart(train, folder, 300):
        raise RuntimeError(found)
    for name in (folder / "modules").read_text().splitlines():
        with suppress(Exception):
            importlib.import_module(name)


def main() -> int:
    """Runs the campaigns; returns 1 if a case is wrong."""
    given, verdicts = parsed(), []
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="pyrovae-fuzz-") as place:
        print(f"{'campaign':12}{'tried':>8}{'right':>8}{'wrong':>8}{'seconds':>9}", flush=True)
        root = Path(place).resolve()
        warm_up(root)
        for name in given.only.split(","):
            campaign = CAMPAIGNS[name]
            count = campaign.quick if given.quick else round(given.share * campaign.count)
            cases = range(count) if given.case is None else [given.case]
            say = lambda text: print(f"WRONG {text}", flush=True)  # noqa: E731
            verdicts.append(run_campaign(campaign, root, given.seed, cases, say))
            print(row(verdicts[-1]), flush=True)  # Each as it ends: all take minutes.
    print(row(total(verdicts)))
    return int(any(verdict.wrong for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
