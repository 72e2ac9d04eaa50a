"""Writes transitions.tsv: the ticks of patterns around changes of the clocks, for every policy, from independent oracles.

    python -m venv venv && venv/bin/pip install cronsim tzdata && npm install croner
    PYTHONTZPATH= venv/bin/python transitions.py > transitions.tsv

The reference is written here, over Python's zoneinfo, by going through every second of the local calendar: it shares no code and
no method with the engine, which goes by fields and pieces of time. Two libraries vote: cronsim (PyPI) and croner (npm). Each
has one policy of its own; a line beginning with "vote" says which of ours it agrees with, and where with none.
"""

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim

# A zone, the local day around which it is looked at, and how its clocks change then.
DAYS = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/London", "2026-03-29"),
    ("Europe/London", "2026-10-25"),
    ("Australia/Lord_Howe", "2026-10-04"),  # half an hour forward
    ("Australia/Lord_Howe", "2026-04-05"),  # half an hour back
    ("Europe/Dublin", "2026-03-29"),  # winter is the exception there (negative DST)
    ("Europe/Dublin", "2026-10-25"),
    ("Pacific/Apia", "2011-12-30"),  # a day that never was
    ("America/Havana", "2025-03-09"),  # midnight is skipped
    ("America/Havana", "2025-11-02"),  # and comes twice
    ("Pacific/Chatham", "2026-09-27"),  # from 02:45
    ("Pacific/Chatham", "2026-04-05"),
    ("Asia/Kolkata", "2026-03-29"),  # never
]
# Pattern, and its seconds, minutes and hours written out by hand: the reference reads no patterns.
EVERY = range(60)
PATTERNS = {
    "30 2 * * *": ([0], [30], [2]),
    "0 0 * * *": ([0], [0], [0]),
    "30 1 * * *": ([0], [30], [1]),
    "59 23 * * *": ([0], [59], [23]),
    "15,45 0-3 * * *": ([0], [15, 45], [0, 1, 2, 3]),
    "0 * * * *": ([0], [0], range(24)),
    "*/15 * * * *": ([0], [0, 15, 30, 45], range(24)),
    "10 */20 2,3 * * *": ([10], [0, 20, 40], [2, 3]),
}
GAPS = ["SKIP", "SHIFT", "END_OF_GAP"]
OVERLAPS = ["FIRST", "LAST", "BOTH"]


def utc(naive, zone, fold):
    return int(naive.replace(tzinfo=zone, fold=fold).timestamp())


def shown(naive, instant, zone):
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None) == naive


def end_of_gap(naive, zone):
    """The first instant after the skipped local times, found second by second from below."""
    # Before the gap and after it, by the offsets of either side.
    low, high = sorted((utc(naive, zone, 1), utc(naive, zone, 0)))
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while low < high:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle + 1
        else:
            high = middle
    return low


def reference(zone, first, last, fields, gap, overlap):
    seconds, minutes, hours = map(set, fields)
    ticks = set()
    local = first
    while local < last:
        if local.second in seconds and local.minute in minutes and local.hour in hours:
            early, late = utc(local, zone, 0), utc(local, zone, 1)
            if shown(local, early, zone):
                if early == late:
                    ticks.add(early)
                else:
                    ticks.update({"FIRST": [early], "LAST": [late], "BOTH": [early, late]}[overlap])
            elif gap == "SHIFT":
                ticks.add(early)
            elif gap == "END_OF_GAP":
                ticks.add(end_of_gap(local, zone))
        local += timedelta(seconds=1 if local.minute in minutes and local.hour in hours else 60 - local.second)
    return sorted(ticks)


def of_cronsim(pattern, zone, low, high):
    ticks = []
    for tick in CronSim(pattern, datetime.fromtimestamp(low - 1, zone)):
        at = int(tick.timestamp())
        if at >= high:
            return ticks
        ticks.append(at)


CRONER = """
import { Cron } from "croner";
import { readFileSync } from "node:fs";
const answers = JSON.parse(readFileSync(0)).map(([pattern, timezone, low, high]) => {
  const cron = new Cron(pattern, { timezone });
  const ticks = [];
  let at = new Date((low - 1) * 1000);
  while ((at = cron.nextRun(at)) && at.getTime() < high * 1000) ticks.push(at.getTime() / 1000);
  return ticks;
});
console.log(JSON.stringify(answers));
"""


def runs(ticks):
    """Ticks as the first, and then steps with how often each is repeated."""
    text, steps = [], [b - a for a, b in zip(ticks, ticks[1:])]
    while steps:
        count = next((i for i, step in enumerate(steps) if step != steps[0]), len(steps))
        text.append(f"{steps[0]}x{count}")
        steps = steps[count:]
    return " ".join([str(ticks[0]), *text]) if ticks else "-"


cases, questions = [], []
for name, day in DAYS:
    zone = ZoneInfo(name)
    middle = datetime.fromisoformat(day)
    # Instants that are looked at; the calendar is gone through with room on both sides.
    low = utc(middle, timezone.utc, 0) - 20 * 3600 - int(zone.utcoffset(middle).total_seconds())
    high = low + 68 * 3600
    for pattern, fields in PATTERNS.items():
        first, last = middle - timedelta(days=3), middle + timedelta(days=5)
        answers = {}
        for gap in GAPS:
            for overlap in OVERLAPS:
                ticks = reference(zone, first, last, fields, gap, overlap)
                answers[gap, overlap] = [tick for tick in ticks if low <= tick < high]
        cases.append((name, day, pattern, low, high, answers))
        questions.append((pattern, name, low, high))

croner = subprocess.run(["node", "--input-type=module", "-e", CRONER], input=json.dumps(questions), capture_output=True, text=True)
if croner.returncode:
    sys.exit(croner.stderr)

print("# Written by transitions.py, which says how. Ticks: the first, in seconds since the Unix epoch, then steps.")
print("# ticks\tzone\tpattern\tfrom\tuntil\tgap\toverlap\tticks | vote\tzone\tday\tpattern\tcronsim agrees with\tcroner agrees with")
for (name, day, pattern, low, high, answers), of_croner in zip(cases, json.loads(croner.stdout)):
    def agreeing(ticks):
        same = [policies for policies, ours in answers.items() if ours == ticks]
        gaps = "|".join(gap for gap in GAPS if any(gap == policies[0] for policies in same))
        overlaps = "|".join(overlap for overlap in OVERLAPS if any(overlap == policies[1] for policies in same))
        return f"{gaps}/{overlaps}".replace("|".join(GAPS), "any").replace("|".join(OVERLAPS), "any") if same else "none"

    # cronsim has its seconds last where it has six fields, in its newest versions first: it votes on five only.
    of_cronsim_too = agreeing(of_cronsim(pattern, ZoneInfo(name), low, high)) if len(pattern.split()) == 5 else "-"
    print("vote", name, day, pattern, of_cronsim_too, agreeing(of_croner), sep="\t")
    for (gap, overlap), ticks in answers.items():
        print("ticks", name, pattern, low, high, gap, overlap, runs(ticks), sep="\t")
