"""The paper's data, the prototype's files and damaged files, through the command line."""
import importlib.util
import json
import os
import random
import unittest

from harness import GPULET, Repository, main, run

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DATA = os.path.join(ROOT, "data")
MUTATIONS = 200


def data(name):
    return os.path.join(DATA, name)


def read(path):
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


V1 = ("--profiles", data("profile_2080ti_synthetic_v1.csv"), "--devices", data("devices_2080ti.yaml"))
V1_EQUAL = V1 + ("--workload", data("workloads_v1.csv"), "--scenario", "equal")
GLET = ("--format", "glet", "--profiles", data("glet/latency_synthetic.csv"), "--devices", data("glet/device-config.json"), "--workload",
        data("glet/tasks.csv"), "--interference", data("glet/INT_MODEL_CONSTANT.CSV"), "--utilisation",
        data("glet/UTIL_synthetic.CSV"))


class Case(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def path(self, name, text=""):
        return self.repository.write(os.path.join(".files", name), text)

    def plan(self, *words, code=0):
        found, out, err = run(GPULET, "plan", *words, "--json")
        self.assertEqual(found, code, "%s\n%s\n%s" % (" ".join(words), out, err))
        return json.loads(out) if code in (0, 3) else err


class Data(Case):
    def test_the_committed_files_are_what_the_script_makes(self):
        spec = importlib.util.spec_from_file_location("make_paper_data", data("make_paper_data.py"))
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        made = script.files()
        for name, text in made.items():
            self.assertEqual(read(data(name)), text, name + ": run data/make_paper_data.py")
            if name.endswith(".csv") and "/" not in name and "interference" not in name:
                self.assertTrue(text.startswith("# Synthetic"), name)
        there = {os.path.relpath(os.path.join(folder, name), DATA) for folder, _, names in os.walk(DATA) for name in names
                 if "__pycache__" not in folder}
        self.assertEqual(there - set(made), {"make_paper_data.py", "README.md", "apps_v2.yaml"})

    def test_the_rule_gives_the_first_versions_objectives(self):
        code, out, err = run(GPULET, "slo", *V1)
        self.assertEqual(code, 0, err)
        found = dict((line.split(",")[0], float(line.split(",")[2])) for line in out.splitlines()[1:])
        self.assertEqual(found, {"lenet": 5, "googlenet": 44, "resnet50": 95, "ssd-mobilenet": 136, "vgg16": 130})

    def test_every_planner_plans_every_workload(self):
        for version in (1, 2):
            text = read(data("workloads_v%d.csv" % version))
            names = {line.split(",")[0] for line in text.splitlines()[2:]}
            for scenario in sorted(names):
                for planner in ("temporal", "even", "selftune", "greedy", "elastic", "exhaustive"):
                    plan = self.plan("--profiles", data("profile_2080ti_synthetic_v%d.csv" % version), "--devices",
                                     data("devices_2080ti.yaml"), "--workload", data("workloads_v%d.csv" % version), "--scenario", scenario,
                                     "--planner", planner)
                    self.assertTrue(plan["feasible"], (scenario, planner))

    def test_host_cost_network_and_headroom_take_capacity(self):
        words = V1_EQUAL + ("--planner", "greedy", "--max-multiple")
        most = self.plan(*words)["max_multiple"]
        cost = self.plan(*words, "--host-cost", data("host_cost_synthetic.csv"))["max_multiple"]
        limited = [data("devices_2080ti_limits.yaml") if w == data("devices_2080ti.yaml") else w for w in words]
        limits = self.plan(*limited)["max_multiple"]
        self.assertLess(cost, 0.9 * most)
        self.assertLess(limits, most)

    def test_a_time_limit_holds_for_each_plan_of_a_question(self):
        words = V1 + ("--workload", data("workloads_v1.csv"), "--scenario", "game", "--count", "1", "--max-multiple",
                      "--what-if", "all.rate*6.9")
        rules = self.plan(*words, "--planner", "elastic")
        # Nothing can be searched in so little time: what is left is the plan to begin with.
        limited = self.plan(*words, "--planner", "optimal", "--time-limit-s", "0.000001")
        free = self.plan(*words, "--planner", "optimal")
        self.assertEqual(limited["max_multiple"], rules["max_multiple"])
        self.assertLess(limited["max_multiple"], 6.9)
        self.assertGreater(free["max_multiple"], 6.9)
        self.assertFalse(limited["what_if"][0]["feasible"])
        self.assertTrue(free["what_if"][0]["feasible"])


class Prototype(Case):
    def test_its_files_give_a_plan_that_goes_round(self):
        listed = self.path("ModelList.txt")
        plan = self.plan(*GLET, "--count", "4", "--model-list", listed)
        self.assertTrue(plan["feasible"])
        lines = [line.split(",") for line in read(listed).splitlines()]
        models = [line[3] for line in lines if line[3] != "reserved"]
        self.assertEqual(sorted(set(models)), ["googlenet", "lenet1", "resnet50", "ssd-mobilenetv1", "vgg16"])
        self.assertTrue(self.plan(*GLET, "--count", "4", "--verify", listed)["verified"])
        worse = read(listed).splitlines()
        cut = worse[0].split(",")
        cut[5] = "1000.0"
        bad = self.path("bad.txt", "\n".join([",".join(cut)] + worse[1:]) + "\n")
        self.assertFalse(self.plan(*GLET, "--count", "4", "--verify", bad, code=3)["verified"])

    def test_a_model_list_is_verified_as_it_stands(self):
        lines = ["%s,100,%d,%g" % (model, batch, 19.6 + 0.4 * batch) for model in ("lenet1", "googlenet", "vgg16") for batch in (1, 2, 32)]
        words = ("--format", "glet", "--profiles", self.path("latency.csv", "\n".join(lines) + "\n"), "--devices", data("glet/device-config.json"),
                 "--workload", self.path("tasks.csv", "2\n0,10,100,\n6,10,100,\n"), "--count", "1")
        for second, duty, says in (("googlenet,1", "40", None), ("googlenet,1", "39.999999", None), ("googlenet,1", "39.99", "a cycle of"),
                                   ("googlenet,1", "25", "a cycle of"), ("googlenet,33", "60", "outside of the profile"),
                                   ("vgg16,1", "40", "vgg16 is not in the workload")):
            listed = self.path("list.txt", "0,100,0,lenet1,1,%s\n0,100,0,%s,%s\n" % (duty, second, duty))
            found = self.plan(*words, "--verify", listed, code=0 if says is None else 3)
            self.assertEqual(found["verified"], says is None)
            self.assertIn(says or "", found["reason"])

    def test_tolerances_are_said(self):
        words = V1 + ("--workload", self.path("w.csv", "model,rate_rps,slo_ms\nresnet50,1,95\n"), "--count", "1", "--elastic", "prototype",
                      "--max-multiple")
        most = self.plan(*words)["max_multiple"]
        over = V1 + ("--workload", self.path("o.csv", "model,rate_rps,slo_ms\nresnet50,%f,95\n" % (most + 10)), "--count", "1",
                     "--elastic", "prototype")
        self.assertFalse(self.plan(*over, code=3)["feasible"])
        plan = self.plan(*over, "--rate-slack", "15")
        self.assertTrue(plan["feasible"])
        self.assertEqual(plan["rule"], "prototype")
        self.assertFalse(plan["promises_kept"])
        self.assertIn("the verifier: resnet50 is asked for", plan["reason"])
        self.assertFalse(self.plan(*over, "--verify", self.path("p.json", json.dumps(plan)), code=3)["verified"])
        self.assertIn("--elastic", self.plan(*V1_EQUAL, "--rate-slack", "15", code=2))
        self.assertIn("--order", self.plan(*V1_EQUAL, "--elastic", "paper", "--order", "alphabet", code=2))


class Damage(Case):
    """A file with random damage is refused with a message or read as something else; nothing crashes."""

    FILES = {"--profiles": "profile_2080ti_synthetic_v1.csv", "--devices": "devices_2080ti_limits.yaml", "--workload": "workloads_v1.csv",
             "--interference": "interference_2080ti.csv", "--host-cost": "host_cost_synthetic.csv"}
    GLET_FILES = {"--profiles": "glet/latency_synthetic.csv", "--devices": "glet/device-config.json", "--workload": "glet/tasks.csv",
                  "--interference": "glet/INT_MODEL_CONSTANT.CSV", "--utilisation": "glet/UTIL_synthetic.CSV"}

    def damage(self, rng, text):
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            kind = rng.randrange(4)
            if kind == 0:
                text = text[:at] + rng.choice('\n,"#:-019.e{}[]x\t') + text[at + 1:]
            elif kind == 1:
                text = text[:at] + text[at + rng.randint(1, 30):]
            elif kind == 2:
                text = text[:at] + text[at:at + rng.randint(1, 30)] + text[at:]
            else:
                text = text[:max(at, 1)]
            text = text or "x"
        return text

    def test_damaged_files_are_refused_with_a_message(self):
        rng = random.Random(1)
        refused = 0
        for i in range(MUTATIONS):
            files = self.FILES if i % 2 == 0 else self.GLET_FILES
            option = sorted(files)[i // 2 % len(files)]
            path = self.path("damaged", self.damage(rng, read(data(files[option]))))
            words = ["--scenario", "equal"] if i % 2 == 0 else ["--format", "glet"]
            for name, file in files.items():
                words += [name, path if name == option else data(file)]
            code, out, err = run(GPULET, "plan", *words, "--planner", "greedy", "--count", "2", "--no-advice", "--json")
            self.assertIn(code, (0, 1, 2, 3), "%d: %s\n%s" % (i, code, err))
            if code in (1, 2):
                refused += 1
                self.assertRegex(err, r"^gpulet plan: \S+", "%d" % i)
                self.assertEqual(out, "")
            else:
                json.loads(out)
        self.assertGreater(refused, MUTATIONS // 4)


if __name__ == "__main__":
    main()
