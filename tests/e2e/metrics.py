"""What the metrics port says: the names that dashboards use, in a form that Prometheus takes, with figures that add up."""
import os
import re
import shutil
import subprocess
import unittest

from harness import Client, Load, Repository, Server, identity_body, identity_infer, infer_json, main, missing, plan_json, tensor, wait_for

COUNTERS = ["nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count", "nv_inference_request_duration_us",
            "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us", "nv_inference_compute_infer_duration_us",
            "nv_inference_compute_output_duration_us"]
GAUGES = ["nv_inference_pending_request_count", "nv_model_load_duration_secs"]


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("a").add("b", latency_ms=2)
        cls.repository.add('odd "name" \\ é')
        cls.server = Server(cls.repository)
        for n in (1, 2, 3):
            identity_infer(cls.server, items=n, model="a")
        identity_infer(cls.server, model="b")
        cls.server.infer("a", b"{}")
        cls.server.infer("a", infer_json(tensor("X", "FP32", [1], [1])))

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.stop()
        finally:
            cls.repository.close()

    def test_content_type(self):
        with Client(self.server.metrics_port) as c:
            r = c.request("GET", "/metrics?x=1")
        self.assertTrue(r.header("content-type").startswith("text/plain; charset=utf-8") or
                        r.header("content-type").startswith("text/plain; version=0.0.4"), r.headers)

    def test_promtool_takes_it(self):
        if shutil.which("promtool") is None:
            missing("promtool is not installed; run: tools/setup check")
        done = subprocess.run(["promtool", "check", "metrics"], input=self.server.metrics_text().encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60, check=False)
        complaints = [line for line in done.stdout.decode().splitlines()
                      if line and not re.match(r"nv_\S+ ", line)]  # those names and forms are given
        self.assertEqual(complaints, [], "promtool, exit code %d" % done.returncode)

    def test_every_name_has_help_and_type_once_and_its_samples_together(self):
        text = self.server.metrics_text()
        self.assertTrue(text.endswith("\n"))
        seen, current = {}, None
        for line in text.splitlines():
            match = re.match(r"# (HELP|TYPE) (\S+) (.+)", line)
            if match:
                kind, name, rest = match.groups()
                entry = seen.setdefault(name, {})
                self.assertNotIn(kind, entry, line)
                entry[kind] = rest
                current = name
                continue
            name = re.match(r"[a-zA-Z0-9_:]+", line).group(0)
            self.assertTrue(name == current or re.sub("_(sum|count|bucket)$", "", name) == current, line)
        for name, entry in seen.items():
            self.assertEqual(set(entry), {"HELP", "TYPE"}, name)
            self.assertIn(entry["TYPE"], ("counter", "gauge", "summary", "histogram"))
        for name in COUNTERS + ["nv_inference_request_failure"]:
            self.assertEqual(seen[name]["TYPE"], "counter", name)
        for name in GAUGES:
            self.assertEqual(seen[name]["TYPE"], "gauge", name)

    def test_no_sample_twice_and_every_model_everywhere(self):
        keys = [(n, tuple(sorted(labels.items()))) for n, labels, _ in self.server.metrics()]
        self.assertEqual(len(keys), len(set(keys)))
        models = {("a", "1"), ("b", "1"), ('odd \\"name\\" \\\\ é', "1")}
        for name in COUNTERS + GAUGES:
            self.assertEqual({(labels["model"], labels["version"]) for n, labels, _ in self.server.metrics() if n == name}, models)
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
            self.assertEqual(len([1 for n, labels, _ in self.server.metrics()
                                  if n == "nv_inference_request_failure" and labels["reason"] == reason]), len(models))

    def test_the_figures_add_up(self):
        metric = self.server.metric
        self.assertEqual(metric("nv_inference_request_success", model="a"), 3)
        self.assertEqual(metric("nv_inference_count", model="a"), 6)
        self.assertEqual(metric("nv_inference_exec_count", model="a"), 3)
        self.assertEqual(metric("nv_inference_request_success", model="b"), 1)
        self.assertEqual(metric("nv_inference_request_failure", model="a", reason="OTHER"), 2)
        self.assertEqual(metric("nv_inference_request_failure", model="b"), 0)
        self.assertGreaterEqual(metric("nv_inference_compute_infer_duration_us", model="b"), 1900)
        self.assertGreaterEqual(metric("nv_inference_request_duration_us", model="b"),
                                metric("nv_inference_compute_infer_duration_us", model="b"))
        self.assertEqual(metric("nv_inference_pending_request_count"), 0)
        self.assertEqual(metric("gpulet_ready"), 1)
        self.assertEqual(metric("gpulet_request_latency_seconds_count", model="a"), 3)
        stats = {s["name"]: s for s in self.server.get("/v2/models/stats").json()["model_stats"]}
        for model in ("a", "b"):
            self.assertEqual(stats[model]["inference_count"], metric("nv_inference_count", model=model))
            self.assertEqual(stats[model]["execution_count"], metric("nv_inference_exec_count", model=model))
            self.assertEqual(stats[model]["inference_stats"]["success"]["ns"] // 1000,
                             metric("nv_inference_request_duration_us", model=model))

    def test_the_machine(self):
        metric = self.server.metric
        names = {n for n, _, _ in self.server.metrics()}
        self.assertLessEqual({"nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes"}, names)
        self.assertFalse([n for n in names if n.startswith("nv_pinned")], "there is no such pool")
        with open("/proc/meminfo") as f:
            kib = dict(re.findall(r"(\w+):\s+(\d+) kB", f.read()))
        self.assertEqual(metric("nv_cpu_memory_total_bytes"), int(kib["MemTotal"]) * 1024)
        self.assertTrue(0 < metric("nv_cpu_memory_used_bytes") < metric("nv_cpu_memory_total_bytes"))
        # It is of at least a second, the first since the start.
        samples = wait_for(lambda: [v for n, _, v in self.server.metrics() if n == "nv_cpu_utilization"], "a utilization")
        self.assertEqual(len(samples), 1)
        self.assertTrue(0 <= samples[0] <= 1, samples)

    def test_the_device(self):
        samples = {n: (labels, v) for n, labels, v in self.server.metrics() if n.startswith("nv_gpu_")}
        self.assertEqual({n: v for n, (_, v) in samples.items()}, {
            "nv_gpu_utilization": 0.5, "nv_gpu_memory_total_bytes": 1 << 40, "nv_gpu_memory_used_bytes": 1 << 36,
            "nv_gpu_power_limit": 300})  # what it cannot tell is left out
        self.assertEqual({labels["gpu_uuid"] for labels, _ in samples.values()}, {"FAKE-fake-0"})
        kinds = dict(re.findall(r"# TYPE (\S+) (\S+)", self.server.metrics_text()))
        for name in samples:
            self.assertEqual(kinds[name], "gauge")
        self.assertNotIn("nv_gpu_power_usage", kinds)

    def test_queues(self):
        metric = self.server.metric
        self.assertEqual(metric("gpulet_queue_length"), 0)
        self.assertEqual(metric("gpulet_queue_delay_seconds_count", model="a"), 3)
        for model in ("a", "b"):
            delay = metric("gpulet_queue_delay_seconds_sum", model=model)
            self.assertAlmostEqual(delay, metric("nv_inference_queue_duration_us", model=model) / 1e6, delta=2e-6)
            self.assertLess(delay, metric("gpulet_request_latency_seconds_sum", model=model))
            self.assertLessEqual(metric("gpulet_queue_delay_seconds", model=model, quantile="0.5"),
                                 metric("gpulet_queue_delay_seconds", model=model, quantile="0.999"))

    def test_executions_stand_beside_their_predictions(self):
        metric = self.server.metric
        rows = {(labels["model"], labels["batch"]): v for n, labels, v in self.server.metrics()
                if n == "gpulet_execution_seconds_count"}
        self.assertEqual({key: v for key, v in rows.items() if key[0] == "a"}, {("a", "1"): 1, ("a", "2"): 1, ("a", "3"): 1})
        self.assertEqual(sum(rows.values()), metric("nv_inference_exec_count"))
        for model in ("a", "b"):
            self.assertAlmostEqual(metric("gpulet_execution_seconds_sum", model=model),
                                   metric("nv_inference_compute_infer_duration_us", model=model) / 1e6, delta=2e-6)
        self.assertGreaterEqual(metric("gpulet_execution_seconds_sum", model="b"), 0.0019)
        labels = {name: {tuple(sorted(k for k in l)) for n, l, _ in self.server.metrics() if n == name}
                  for name in ("gpulet_predicted_execution_seconds", "gpulet_execution_seconds_sum", "gpulet_execution_seconds_count")}
        self.assertEqual(len(set(map(frozenset, labels.values()))), 1, labels)

    def test_zz_counters_never_fall(self):
        def counters():
            kinds = dict(re.findall(r"# TYPE (\S+) (\S+)", self.server.metrics_text()))
            return {(n, tuple(sorted(labels.items()))): v for n, labels, v in self.server.metrics() if kinds.get(n) == "counter"}
        before = counters()
        for _ in range(5):
            self.server.infer("b", identity_body())
        after = counters()
        for key, value in before.items():
            self.assertGreaterEqual(after[key], value, key)


class Changing(unittest.TestCase):
    def executed(self):
        return {labels["model"]: v for n, labels, v in self.server.metrics() if n == "gpulet_execution_seconds_count"}

    def test_executions_go_with_what_ran_them(self):
        repository = Repository().add("a").add("b").add("c")
        self.addCleanup(repository.close)
        plan = repository.write(".plan.json", plan_json([(100, 0, [("a", 1, 1), ("b", 1, 1), ("c", 1, 1)])]))
        self.server = Server(repository, plan=plan)
        self.addCleanup(self.server.kill)
        for model in "abc":
            identity_infer(self.server, model=model)
        self.assertEqual(self.executed(), {"a": 1, "b": 1, "c": 1})
        # The gpu-let goes on without one of its models.
        r = self.server.post("/v2/repository/models/b/unload")
        self.assertEqual(r.status, 200, r)
        identity_infer(self.server, model="c")
        self.assertEqual(self.executed(), {"a": 1, "c": 2})
        self.assertEqual(self.server.post("/v2/repository/models/b/load").status, 200)
        identity_infer(self.server, model="b")
        self.assertEqual(self.executed(), {"a": 1, "b": 1, "c": 2})
        self.server.stop()

    def test_a_device_that_is_gone_tells_nothing(self):
        repository = Repository().add("a")
        self.addCleanup(repository.close)
        gone = repository.join(".gone")
        server = Server(repository, fake_devices="fake:100:2", fake_gone=gone)
        self.addCleanup(server.kill)

        def told():
            return sorted(labels["gpu_uuid"] for n, labels, _ in server.metrics() if n == "nv_gpu_memory_used_bytes")
        self.assertEqual(told(), ["FAKE-fake-0", "FAKE-fake-1"])
        repository.write(".gone", "fake/1\n")
        wait_for(lambda: told() == ["FAKE-fake-0"], "one device told of")
        os.unlink(gone)
        wait_for(lambda: told() == ["FAKE-fake-0", "FAKE-fake-1"], "both told of again")
        server.stop()

    def test_the_queue_is_seen_while_it_is_there(self):
        repository = Repository().add("slow", config="max_batch_size: 1\n", latency_ms=100)
        self.addCleanup(repository.close)
        server = Server(repository)
        self.addCleanup(server.kill)

        def one(thread, number, client):
            return str(client.request("POST", "/v2/models/slow/infer", identity_body()).status)
        load = Load(server.port, 8, one)
        wait_for(lambda: server.metric("gpulet_queue_length", model="slow") >= 4, "a queue")
        wait_for(lambda: server.metric("gpulet_queue_delay_seconds", model="slow", quantile="0.99") > 0.2, "a delay")
        self.assertEqual(set(load.stop()), {"200"})
        self.assertEqual(server.metric("gpulet_queue_length", model="slow"), 0)
        server.stop()


if __name__ == "__main__":
    main()
