"""What config.pbtxt says beyond a model's tensors: what is heeded, what is shown again, and what is told of."""
import json
import unittest

from harness import (Repository, Server, head, identity_body, identity_infer, main, parameters, plan_json, wait_for)

UNUSED = """max_batch_size: 4
instance_group { count: 2 kind: KIND_CPU }
instance_group [ { count: 1 gpus: [ 0, 1 ] } ]
optimization { cuda { graphs: true } }
metric_tags { key: "team" value: "vision" }
model_metrics { metric_control { histogram_options { buckets: [ 0.1, 5., inf ] } } }
dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 100 }
"""
TOLD = ("instance_group,optimization,metric_tags,model_metrics,dynamic_batching.preferred_batch_size,"
        "dynamic_batching.max_queue_delay_microseconds")


class Config(unittest.TestCase):
    def serve(self, *models, **options):
        """models: (name, config, script arguments)."""
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for name, config, args in models:
            self.repository.add(name, config=config, **args)
        plan = self.repository.write(".plan.json", plan_json(
            [(100, 0, [(m[0], 1, m[2].get("latency_ms", 1)) for m in models])]))
        self.server = Server(self.repository, plan=plan, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def told(self, model):
        """[(level, fields)] of what the log says of the model."""
        lines = [line for line in self.server.log().splitlines()
                 if "event=config_without_effect model=%s " % model in line]
        return [(line.split("level=")[1].split()[0], line.split('fields="')[1].split('"')[0]) for line in lines]

    def test_what_is_not_heeded_is_shown_and_told_of_once(self):
        server = self.serve(("unused", UNUSED, {}), ("plain", "max_batch_size: 4\n" + parameters(slo_ms=500), {}),
                            ("grave", "max_batch_size: 4\nsequence_batching { }\nmodel_transaction_policy { decoupled: true }\n", {}))
        config = server.get("/v2/models/unused/config").json()
        self.assertEqual(config["instance_group"], [{"count": 2, "kind": "KIND_CPU"}, {"count": 1, "gpus": [0, 1]}])
        self.assertEqual(config["optimization"], {"cuda": {"graphs": True}})
        self.assertEqual(config["metric_tags"], {"team": "vision"})
        self.assertEqual(config["model_metrics"]["metric_control"][0]["histogram_options"]["buckets"], [0.1, 5.0, None])
        self.assertEqual(config["dynamic_batching"]["preferred_batch_size"], [2, 4])
        self.assertEqual(config["dynamic_batching"]["max_queue_delay_microseconds"], 100)
        self.assertEqual(config["model_transaction_policy"], {"decoupled": False})
        self.assertEqual(server.get("/v2/models/grave/config").json()["model_transaction_policy"], {"decoupled": True})
        self.assertEqual(server.get("/v2/models/plain/config").json()["instance_group"], [])
        self.assertEqual(self.told("unused"), [("info", TOLD)])
        self.assertEqual(self.told("grave"), [("warning", "sequence_batching,model_transaction_policy")])
        self.assertEqual(self.told("plain"), [])
        for model in ("unused", "grave", "plain"):
            identity_infer(server, model=model)
        given = {"instance_group": [{"count": 3}], "response_cache": {"enable": True}}
        r = server.post("/v2/repository/models/plain/load", json.dumps({"parameters": {"config": json.dumps(given)}}).encode())
        self.assertEqual(r.status, 200, r)
        config = server.get("/v2/models/plain/config").json()
        self.assertEqual((config["instance_group"], config["response_cache"]), ([{"count": 3}], {"enable": True}))
        self.assertEqual(self.told("plain"), [("info", "instance_group,response_cache")])
        server.stop()

    def test_a_repository_may_be_named(self):
        server = self.serve(("a", None, {}))
        want = server.post("/v2/repository/index").json()
        for name in ("models", "any%20name"):
            self.assertEqual(server.post("/v2/repository/%s/index" % name).json(), want)
            self.assertEqual(server.post("/v2/repository/%s/models/a/unload" % name).status, 200)
            self.assertEqual(server.infer("a", identity_body()).status, 400)
            self.assertEqual(server.post("/v2/repository/%s/models/a/load" % name).status, 200)
            identity_infer(server, model="a")
        self.assertEqual(server.post("/v2/repository/r/models/nobody/load").status, 404)
        self.assertEqual(server.post("/v2/repository//index").status, 404)
        self.assertEqual(server.get("/v2/repository/r/index").status, 405)
        server.stop()

    def overtakes(self, config, workload=None):
        """Whether a request of priority 2 is answered while others, sent before and with no priority, still wait."""
        options = {}
        if workload is not None:
            folder = Repository()
            self.addCleanup(folder.close)
            options["workload"] = folder.write("w.csv", workload)
        server = self.serve(("m", "max_batch_size: 1\n" + config, {"latency_ms": 300}), **options)
        clients = []
        for i in range(9):
            body = identity_body(**({} if i < 8 else {"parameters": {"priority": 2}}))
            clients.append(server.client())
            clients[-1].send(head("POST", "/v2/models/m/infer", body) + body)
            if i == 7:
                wait_for(lambda: server.model_status("m")["offered"] == 8, "all the others there")
        self.assertEqual(clients[8].read_response().status, 200)
        s = server.model_status("m")
        for c in clients[:8]:
            self.assertEqual(c.read_response().status, 200)
        for c in clients:
            c.close()
        server.stop()
        return s["waiting"] > 1

    def test_the_default_priority_level_unless_something_else_says_it(self):
        level = "dynamic_batching { priority_levels: 4 default_priority_level: 4 }\n"
        self.assertTrue(self.overtakes(level + parameters(slo_ms=20000)), "level 4 is priority 3")
        self.assertFalse(self.overtakes(level + parameters(slo_ms=20000, priority=0)), "the parameter wins")
        self.assertTrue(self.overtakes(level, "model,rate_rps,slo_ms\nm,1,20000\n"), "this workload says no priority")
        self.assertFalse(self.overtakes(level, "model,rate_rps,slo_ms,priority\nm,1,20000,0\n"), "the workload wins")

    def test_delay_means_late_answers_unless_the_parameter_says_drop(self):
        policy = ("max_batch_size: 1\ndynamic_batching { default_queue_policy { timeout_action: DELAY "
                  "default_timeout_microseconds: 50000 } }\n")
        for more, statuses in (("", {200}), (parameters(late="drop"), {200, 503})):
            server = self.serve(("m", policy + more, {"latency_ms": 20}))
            self.assertEqual(server.get("/v2/models/m/config").json()["dynamic_batching"]["default_queue_policy"]["timeout_action"],
                             "DELAY")
            clients = [server.client() for _ in range(30)]
            body = identity_body()
            for c in clients:
                c.send(head("POST", "/v2/models/m/infer", body) + body)
            self.assertEqual({c.read_response().status for c in clients}, statuses)
            for c in clients:
                c.close()
            server.stop()


if __name__ == "__main__":
    main()
