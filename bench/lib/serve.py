"""What every benchmark here needs: finding the programs, starting and stopping servers, /proc figures, `gpulet bench`, searches.

Only the standard library. Servers listen on loopback, on a free port, and are stopped by their own process id.
"""

import argparse
import csv
import json
import os
import pathlib
import selectors
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
START_LIMIT_S = 180.0
STOP_LIMIT_S = 40.0
ATTAINMENT_GOAL = 0.99


def emit(**fields):
    """One result: a JSON line on stdout."""
    print(json.dumps(fields), flush=True)


def say(text):
    """Progress, for people: on stderr."""
    print(text, file=sys.stderr, flush=True)


def rounded(value, digits=5):
    """Significant digits enough for a reader."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def compare(bench, point, gpulet, yardstick, goal, what="bare", **extra):
    """A ratio of two figures of the same run and whether it meets its goal, a text such as '<= 2'."""
    ratio = gpulet / yardstick if yardstick and gpulet is not None else None  # nothing to compare (with): met is null too
    sign, bound = goal.split()
    met = None if ratio is None else ratio <= float(bound) if sign == "<=" else ratio >= float(bound)
    fields = {"bench": bench, "point": point, "gpulet": rounded(gpulet), what: rounded(yardstick),
              "ratio": rounded(ratio, 4), "goal": goal, "met": met}
    emit(**fields, **extra)
    return ratio


def limit(bench, point, gpulet, goal, **extra):
    """A figure whose goal is in its own unit, such as '<= 5' of a figure in ms: a line like compare's, beside one unit."""
    return compare(bench, point, gpulet, 1.0, goal, what="unit", **extra)


def arguments(text, **extra):
    """The options that every script shares; extra are further add_argument keywords by name."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--quick", action="store_true", help="short runs: a first impression")
    parser.add_argument("--build", default=os.environ.get("GPULET_BUILD", str(ROOT / "build" / "release")),
                        help="build folder [$GPULET_BUILD or build/release]")
    parser.add_argument("--models-dir", default=os.environ.get("GPULET_MODELS", str(ROOT / ".setup" / "models" / "repository")),
                        help="repository written by tools/make-models [$GPULET_MODELS or .setup/models/repository]")
    parser.add_argument("--profiles", help="measured profile to use [measured once, kept in BUILD/bench]")
    parser.add_argument("--server-options", default="", help="further options of gpuletd, in one word")
    parser.add_argument("--log", action="store_true", help="the servers' own messages on stderr")
    for name, options in extra.items():
        parser.add_argument("--" + name.replace("_", "-"), **options)
    return parser.parse_args()


def main(body):
    """Runs a script's body; a server that does not start ends it with the server's words. Told to end, it ends its servers first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        body()
    except StartError as error:
        sys.exit(str(error))


class World:
    """Programs, models and a scratch folder of one benchmark run."""

    def __init__(self, args):
        build = pathlib.Path(args.build).resolve()
        self.gpuletd = build / "bin" / "gpuletd"
        self.gpulet = build / "bin" / "gpulet"
        self.bare_server = build / "bench" / "bare_server"
        self.bare_loop = build / "bench" / "bare_loop"
        self.keep = build / "bench"
        self.models_dir = pathlib.Path(args.models_dir).resolve()
        self.given_profiles = args.profiles
        self.server_options = shlex.split(args.server_options)
        self.log = args.log
        self.scratch = tempfile.TemporaryDirectory(prefix="gpulet-bench-")
        self.cores = len(os.sched_getaffinity(0))
        self.serial = 0
        self.store = pathlib.Path(self.scratch.name) / "store.db"  # with the prepared models: a server that ran before has them
        for program in (self.gpuletd, self.gpulet):
            if not program.exists():
                sys.exit(f"{program} is missing: cmake --workflow --preset release, or --build DIR")
        # Where the tree's own library lies; a build folder elsewhere would not find it by itself.
        own = ROOT / ".setup" / "ort"
        if "GPULET_ORT_LIBRARY" not in os.environ and own.is_dir():
            os.environ["GPULET_ORT_LIBRARY"] = str(own)

    def path(self, name):
        """A fresh path in the scratch folder."""
        self.serial += 1
        return pathlib.Path(self.scratch.name) / f"{self.serial}-{name}"

    def repository(self, models):
        """A repository of just these models: links into the example repository."""
        folder = self.path("models")
        folder.mkdir()
        for model in models:
            source = self.models_dir / model
            if not source.is_dir():
                sys.exit(f"{source} is missing: tools/make-models {self.models_dir}, or --models-dir DIR")
            (folder / model).symlink_to(source)
        return folder

    def workload(self, rows):
        """A workload file from (model, rate_rps, slo_ms) rows."""
        path = self.path("workload.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["model", "rate_rps", "slo_ms"])
            writer.writerows([model, f"{rate:.6g}", f"{slo:.6g}"] for model, rate, slo in rows)
        return path

    def profile(self, models, batches="1,2,4,8,16,32", options=(), repository=None):
        """Profile of these models, measured by `gpulet profile` unless its store has it already."""
        if self.given_profiles:
            return pathlib.Path(self.given_profiles)
        self.keep.mkdir(parents=True, exist_ok=True)
        out = self.path("profile.csv")
        say(f"profile of {','.join(models)} …")
        command = [self.gpulet, "profile", "--model-repository", repository or self.repository(models), "--models", ",".join(models),
                   "--batches", batches, "--out", out, "--store", self.keep / "profiles.db", *options]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if not out.exists():
            sys.exit(f"gpulet profile: exit {done.returncode}\n{done.stderr.strip()[-2000:]}")
        if done.returncode != 0:  # a batch that could not be measured is left out; the rest is a profile
            say("\n".join(line for line in done.stderr.splitlines() if line.startswith("gpulet profile:")))
        return out

    def interference(self, models, batches="1,4", options=()):
        """How the models slow one another down here on one unit each: the measured pairs and what was fitted to them, two files. Kept
        as profiles are."""
        self.keep.mkdir(parents=True, exist_ok=True)
        out, pairs, fitted = self.path("profile.csv"), self.path("pairs.csv"), self.path("interference.csv")
        say(f"interference of {','.join(models)} …")
        run([self.gpulet, "profile", "--model-repository", self.repository(models), "--models", ",".join(models), "--batches", batches,
             "--sizes", "1", "--rounds", "3", "--interference", "--out", out, "--pairs-out", pairs, "--interference-out", fitted,
             "--store", self.keep / "profiles.db", *options])
        return pairs, fitted

    def start_gpuletd(self, models, rows, profiles=None, repository=None, options=()):
        """gpuletd with these models, told these demands."""
        command = [self.gpuletd, "--model-repository", repository or self.repository(models), "--http-port", "0",
                   "--metrics-port", "0", "--workload", self.workload(rows), "--store", self.store, "--no-calibrate",
                   "--log-level", "warning"]
        if profiles is not None:
            command += ["--profiles", profiles]
        return Server(command + self.server_options + list(options), self.log)

    def start_bare(self, models, threads=1, batch=1):
        """The bare server with these models."""
        return Server([self.bare_server, "--model-dir", self.models_dir, "--models", ",".join(models), "--threads",
                       threads, "--batch", batch], self.log)

    def loop(self, model, sessions, threads, batch, duration_s):
        """Items a second of the engine alone."""
        out = run([self.bare_loop, "--model-dir", self.models_dir, "--model", model, "--sessions", sessions,
                   "--threads", threads, "--batch", batch, "--duration-s", duration_s])
        return json.loads(out)

    def drive(self, server, **options):
        """`gpulet bench` against a server; the document it prints. in_flight=16 becomes --in-flight 16."""
        command = [self.gpulet, "bench", "--url", server.url, "--json", "--quiet"]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), value]
        return json.loads(run(command))


def run(command):
    """Runs a program to its end; its stdout. Ends this one with its words when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


class StartError(Exception):
    """A server that ended, or stayed silent, instead of becoming ready."""


class Server:
    """A server process of ours, from its start to its end. url and metrics_url come from its ready line."""

    def __init__(self, command, log=False):
        self.command = [str(word) for word in command]
        self.messages = tempfile.TemporaryFile()
        self.started_s = time.monotonic()
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE,
                                        stderr=None if log else self.messages)
        line = self._first_line()
        self.ready_s = time.monotonic() - self.started_s
        fields = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
        if not line.startswith("ready ") or "http" not in fields:
            self.stop()
            raise StartError(f"{' '.join(self.command)}: expected a ready line, found {line!r}\n{self.tail()}")
        self.url = "http://" + fields["http"]
        self.metrics_url = "http://" + fields.get("metrics", "")

    def _first_line(self):
        """The ready line; what came instead when the program ends or is too slow."""
        text = b""
        until = time.monotonic() + START_LIMIT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not text.endswith(b"\n") and time.monotonic() < until:
                if selector.select(timeout=1):
                    got = os.read(self.process.stdout.fileno(), 1)
                    if not got:
                        break
                    text += got
        return text.decode(errors="replace").strip()

    def tail(self):
        """The last of what it said on stderr."""
        self.messages.seek(0)
        return self.messages.read()[-2000:].decode(errors="replace")

    def status(self):
        """GET /gpulet/v1/status."""
        with urllib.request.urlopen(self.url + "/gpulet/v1/status", timeout=10) as answer:
            return json.load(answer)

    def runs(self, model):
        """By batch size: how many were run of a model since the start, and the milliseconds the engine took for them."""
        with urllib.request.urlopen(f"{self.url}/v2/models/{model}/stats", timeout=10) as answer:
            batches = json.load(answer)["model_stats"][0]["batch_stats"]
        return {b["batch_size"]: (b["compute_infer"]["count"], b["compute_infer"]["ns"] / 1e6) for b in batches}

    def settle(self, seconds=60):
        """Waits until no gpu-let is being started or loaded; the status then."""
        until = time.monotonic() + seconds
        while True:
            status = self.status()
            if time.monotonic() > until or all(g["state"] == "serving" for g in status["gpulets"]):
                return status
            time.sleep(0.1)

    def prepare(self, seconds=60):
        """Waits until every model that is worth it is prepared for a quick load."""
        until = time.monotonic() + seconds
        while self.status()["preparing"] > 0 and time.monotonic() < until:
            time.sleep(0.1)

    def pin(self, cpus):
        """The server's own threads, not its workers', on these CPUs."""
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cpus)

    def stop(self):
        """SIGTERM, then its exit status; a server that does not end is killed and that is an error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            say(f"{self.command[0]} did not end within {STOP_LIMIT_S:.0f} s of SIGTERM")
            code = -1
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        code = self.stop()
        if code != 0:
            say(f"{self.command[0]} ended with {code}\n{self.tail()}")

    def pids(self):
        """Its process and all below it."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    text = (entry / "stat").read_text()
                except OSError:
                    continue  # it ended meanwhile
                parents[int(entry.name)] = int(text.rsplit(")", 1)[1].split()[1])
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found


def memory_mb(pid, field="Pss", file="smaps_rollup"):
    """A field of /proc/PID/smaps_rollup (Pss, Rss, Private_Dirty …) or status (VmRSS …), in MiB; 0 when the process is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def tree_mb(server, field="Pss"):
    """That field, over the server and its workers."""
    return sum(memory_mb(pid, field) for pid in server.pids())


def cpu_s(pid):
    """User and system seconds a process has used."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def plan_of(status):
    """The gpu-lets of a status: units and batch by model of each."""
    return [{"units": g["units"], "models": {m["model"]: m["batch"] for m in g["models"]}} for g in status["gpulets"]]


def model_of(result, name):
    """One model's entry of what `gpulet bench` printed."""
    return next(model for model in result["models"] if model["model"] == name)


def profile_rows(path):
    """The rows of a profile file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if line.strip() and not line.startswith("#")))


def latencies(profile, model, units):
    """batch → latency in ms of one instance of a model on so many units, from a profile file."""
    return {int(row["batch"]): float(row["latency_ms"]) for row in profile_rows(profile)
            if row["model"] == model and int(row["units"]) == units and (row.get("instances") or "1") == "1"}


def capacity_rps(profile, model, units, slo_ms):
    """Items a second that so many units give within an objective: the best batch whose latency fits twice."""
    curve = latencies(profile, model, units)
    fitting = [batch * 1000 / ms for batch, ms in curve.items() if 2 * ms <= slo_ms]
    return max(fitting) if fitting else 1000 / curve[1]


def busy_fraction(seconds=1.0):
    """How busy all cores are, 0 … 1, by whatever runs on the machine."""
    def read():
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]
    total, idle = read()
    time.sleep(seconds)
    total_after, idle_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def wait_quiet(limit_s=10.0, busy_max=0.1):
    """Waits a while for other work on the machine to end; how busy it still is."""
    until = time.monotonic() + limit_s
    busy = busy_fraction()
    while busy > busy_max and time.monotonic() < until:
        busy = busy_fraction()
    if busy > busy_max:
        say(f"something else keeps this machine {100 * busy:.0f} % busy: the figures will not be worth much")
    return busy


def highest(holds, low, high, steps, passes=6):
    """The highest value (a rate, a multiple) for which holds(value) is true, by bisection on the logarithm; 0 when none does.

    `low` and `high` are guesses; when every step falls on one side, the range moves on to that side and is cut again, `passes`
    times in all.
    """
    for _ in range(passes):
        held = failed = False
        for _ in range(steps):
            middle = (low * high) ** 0.5
            if holds(middle):
                low, held = middle, True
            else:
                high, failed = middle, True
        if held and failed:
            return low
        if held:
            if not holds(high):
                return low
            low, high = high, high * 1.5
        else:
            if holds(low):
                return low
            low, high = low * 0.4, low
    return low if held else 0.0


def median(values):
    """Of a list; 0 of an empty one."""
    return statistics.median(values) if values else 0.0
