"""Runs Autobahn's cases against a server; started with the interpreter of the environment.

Every case that is not OK or INFORMATIONAL is a fault: NON-STRICT and UNIMPLEMENTED too.
Exit status: 0 no fault; 1 faults; 2 the suite itself did not run as it should.
"""

import argparse
import collections
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from autobahntestsuite.case import CaseBasename, CaseCategories, Cases, CaseSetname, CaseSubCategories
from autobahntestsuite.caseset import CaseSet

BEHAVIOURS = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"]
ACCEPTED = {"OK", "INFORMATIONAL"}
BAD_CLOSES = {"FAILED", "UNCLEAN", "WRONG CODE"}
# Of the 18 message sizes in each of 12.* and 13.* a quick run takes these, a sample one.
QUICK_SIZES = {4, 11}
SAMPLE_SIZES = {8}
# Of these categories, which have many cases of one kind, a sample takes every third case.
SAMPLED_CATEGORIES = {"6", "9"}
AGENT = "server"
RUN = "import sys; sys.argv[0] = 'wstest'; from autobahntestsuite import wstest; wstest.run()"


def main() -> int:
    args = arguments()
    shutil.rmtree(args.out, ignore_errors=True)
    cases = selected(args)
    started = time.monotonic()
    shards = [Shard(args, index, cases[index :: args.shards]) for index in range(args.shards)]
    broken = [problem for shard in shards for problem in shard.wait(started + args.limit)]
    results = {case: result for shard in shards for case, result in shard.results.items()}
    missing = [case for case in cases if case not in results]
    if missing:
        broken.append(f"{len(missing)} cases without a result: {' '.join(missing[:10])}")
    faults = [describe(case, results[case], args.out) for case in cases if case in results and is_fault(results[case])]
    lines = table(cases, results)
    lines += ["", f"{len(cases)} cases, {len(faults)} faults, {time.monotonic() - started:.0f} s", *faults]
    if broken:
        lines += ["THE RUN IS NOT VALID:", *broken]
    text = "\n".join(lines)
    (args.out / "summary.md").write_text(text + "\n")
    print(text, flush=True)
    return 2 if broken else 1 if faults else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="ws://host:port/path or wss://...")
    parser.add_argument("out", type=Path, help="where the reports go; it is emptied first")
    parser.add_argument("--cases", default="*", help="patterns with commas between")
    parser.add_argument("--part", choices=PARTS, default="all", help="quick: two of the 18 sizes in each of 12.* and 13.*;"
                        " sample: one, and every third case of 6.* and 9.*")
    parser.add_argument("--shards", type=int, default=2, help="processes side by side")
    parser.add_argument("--limit", type=float, default=1800, help="seconds for the whole run")
    args = parser.parse_args()
    args.out = args.out.resolve()
    return args


def selected(args: argparse.Namespace) -> list[str]:
    wanted = {"cases": args.cases.split(","), "exclude-cases": [], "exclude-agent-cases": {}}
    every = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories).parseSpecCases(wanted)
    return PARTS[args.part](every)


def quick(every: list[str]) -> list[str]:
    """Every case of the protocol itself, and compressed messages of two sizes."""
    return [case for case in every if not is_compressed(case) or size(case) in QUICK_SIZES]


def sample(every: list[str]) -> list[str]:
    """Cases of each kind, for a transport that a quick run has judged on another one."""
    thinned = [case for case in every if case.split(".")[0] in SAMPLED_CATEGORIES][::3]
    others = [case for case in every if case.split(".")[0] not in SAMPLED_CATEGORIES]
    return [case for case in others if not is_compressed(case) or size(case) in SAMPLE_SIZES] + thinned


def is_compressed(case: str) -> bool:
    return case.split(".")[0] in ("12", "13")


def size(case: str) -> int:
    return int(case.split(".")[2])


PARTS = {"all": list, "quick": quick, "sample": sample}


class Shard:
    """One process with its share of the cases."""

    def __init__(self, args: argparse.Namespace, index: int, cases: list[str]):
        self.out = args.out / f"shard{index}"
        self.out.mkdir(parents=True)
        self.log = self.out / "run.log"
        self.results: dict[str, dict[str, str]] = {}
        spec = self.out / "spec.json"
        spec.write_text(json.dumps({
            "outdir": str(self.out), "servers": [{"agent": AGENT, "url": args.url}],
            "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
        }))
        command = [sys.executable, "-u", "-c", RUN, "-m", "fuzzingclient", "-s", str(spec)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.out)

    def wait(self, deadline: float) -> list[str]:
        """Takes the results; says what went wrong with the suite itself."""
        broken = []
        try:
            if self.process.wait(max(1, deadline - time.monotonic())):
                broken.append(f"{self.out.name}: exit status {self.process.returncode}, see {self.log}")
        except subprocess.TimeoutExpired:
            self.process.kill()
            broken.append(f"{self.out.name}: over the time limit")
        # A stream that cannot be inflated is a zlib.error and fails its case; any other error is the suite's.
        errors = re.findall(r"^Traceback.*?^(\w[\w.]*):", self.log.read_text(errors="replace"), re.M | re.S)
        odd = sorted(set(errors) - {"zlib.error"})
        if odd:
            broken.append(f"{self.out.name}: Python error inside the suite ({', '.join(odd)}), see {self.log}")
        index = self.out / "index.json"
        if index.exists():
            self.results = json.loads(index.read_text()).get(AGENT, {})
            for case in self.results.values():
                case["reportfile"] = f"{self.out.name}/{case['reportfile']}"
        else:
            broken.append(f"{self.out.name}: no report")
        return broken


def is_fault(result: dict[str, str]) -> bool:
    return result["behavior"] not in ACCEPTED or result["behaviorClose"] in BAD_CLOSES


def describe(case: str, result: dict[str, str], out: Path) -> str:
    report = json.loads((out / result["reportfile"]).read_text())
    return (f"- {case}: {result['behavior']}, close {result['behaviorClose']} with {result['remoteCloseCode']}: "
            f"{report['result']} / {report['resultClose']}")


def table(cases: list[str], results: dict[str, dict[str, str]]) -> list[str]:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for case in cases:
        if case in results:
            counts[case.split(".")[0]][results[case]["behavior"]] += 1
    rows = [(f"{category} {CaseCategories.get(category, '')}", count) for category, count in counts.items()]
    rows.append(("all", sum(counts.values(), collections.Counter())))
    return [
        "| category | cases | " + " | ".join(BEHAVIOURS) + " |",
        "|---|--:|" + "--:|" * len(BEHAVIOURS),
        *(f"| {name} | {count.total()} | " + " | ".join(str(count[b]) for b in BEHAVIOURS) + " |" for name, count in rows),
    ]


if __name__ == "__main__":
    sys.exit(main())
