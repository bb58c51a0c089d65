"""A server whose profile, rates and devices are known, and what it says of its plan."""
import json
import os
import unittest

from harness import Load, Repository, Server, identity_infer, parameters, plan_json


def devices_yaml(count=1, memory_mb=16384):
    return ("types:\n  fake:\n    units: 100\n    sizes: [25, 50, 75, 100]\n    gpulets_max: 4\n    memory_mb: %d\n"
            "devices:\n  fake: %d\n" % (memory_mb, count))


def profile_csv(models, sizes=(25, 50, 75, 100), batches=(1, 2, 4, 8), memory_mb=None):
    """{model: ms of batch 1 on the whole device}; half the device takes twice as long, a batch of eight four times."""
    lines = ["device,model,units,batch,latency_ms" + (",memory_mb" if memory_mb else "")]
    for model, ms in models.items():
        for units in sizes:
            for batch in batches:
                lines.append("fake,%s,%d,%d,%.4f" % (model, units, batch, ms * 100 / units * (0.5 + 0.5 * batch)) +
                             (",%d" % memory_mb[model] if memory_mb else ""))
    return "\n".join(lines) + "\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def add(self, *names, **args):
        for name in names:
            self.repository.add(name, **args)

    def write(self, name, text):
        """Beside the models; folders that begin with a dot are no models."""
        return self.repository.write(os.path.join(".files", name), text)

    def serve(self, **options):
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def planned(self, rates, latency_ms=2, slo_ms=100, count=1, late="serve", **options):
        """A server that plans for these rates: quickly, and with nothing to spare unless told otherwise. All is answered, however late
        on a machine that stands still, unless it is lateness that is looked at."""
        self.add(*rates, config=parameters(late=late))
        settings = {"profiles": self.write("p.csv", profile_csv({m: latency_ms for m in rates})),
                    "workload": self.write("w.csv", "model,rate_rps,slo_ms\n" + "".join("%s,%g,%g\n" % (m, r, slo_ms) for m, r in rates.items())),
                    "devices": self.write("d.yaml", devices_yaml(count)), "fake_devices": "fake:100:%d" % count,
                    "replan_period_s": 1, "replan_hold_s": 0.2, "rate_window_s": 4, "use_spare": "false"}
        settings.update(options)
        return self.serve(**settings)

    def post(self, path, text=""):
        return self.server.post("/gpulet/v1/" + path, text.encode())

    def put(self, plan, status=200, query=""):
        r = self.post("plan" + query, plan if isinstance(plan, str) else plan_json(plan))
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r

    def replan(self, status=200, **fields):
        r = self.post("replan", json.dumps(fields))
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r.json()

    def gpulets(self):
        return [g for g in self.server.status()["gpulets"] if g["state"] == "serving"]

    def cut(self):
        """What serves: {(units, models)}."""
        return sorted((g["units"], tuple(sorted(m["model"] for m in g["models"]))) for g in self.gpulets())

    def pids(self):
        return {g["name"]: g["pid"] for g in self.gpulets()}

    def rates(self):
        return {m["model"]: m for m in self.server.get("/gpulet/v1/rates").json()["models"]}

    def events(self, since=0, kind=None):
        found = self.server.get("/gpulet/v1/events?since=%d" % since).json()["events"]
        return [e for e in found if kind is None or e["kind"] == kind]

    def load(self, *models, threads=1):
        """Closed loops that check every answer; each request is answered once or the loop ends with a problem."""
        def one(thread, number, client):
            model = models[thread % len(models)]
            identity_infer(self.server, client, first=float(thread * 100000 + number), model=model)
            return model
        return Load(self.server.port, threads * len(models), one)

    def all_were_answered(self, load, *models):
        counts = load.stop()
        self.assertEqual(set(counts), set(models))
        for model in models:
            s = self.server.model_status(model)
            self.assertEqual((s["offered"], s["rejected"] + s["failed"] + s["cancelled"]), (counts[model], 0), model)
