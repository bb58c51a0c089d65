"""Ensembles: graphs of models that are one model to clients, run inside the server."""
import json
import os
import socket
import threading
import time
import unittest

from harness import (Client, Load, Repository, Server, binary, floats, head, infer_json, main, parameters, plan_json, script, strings,
                     tensor, unfloats, wait_for)

FP32 = 'name: "%s" data_type: TYPE_FP32 dims: [ %s ]'


def step(model, inputs, outputs, version=None):
    lines = ['model_name: "%s"' % model]
    if version is not None:
        lines.append("model_version: %d" % version)
    lines += ['input_map { key: "%s" value: "%s" }' % item for item in inputs.items()]
    lines += ['output_map { key: "%s" value: "%s" }' % item for item in outputs.items()]
    return "{ " + " ".join(lines) + " }"


def ensemble(inputs, outputs, steps, batch=8, more="", **values):
    """Inputs and outputs: {name: dims} of FP32, or the text of one."""
    def io(kind, tensors):
        return "".join("%s { %s }\n" % (kind, FP32 % (n, d) if not d.startswith("name") else d) for n, d in tensors.items())

    return ('platform: "ensemble"\nmax_batch_size: %d\n' % batch + io("input", inputs) + io("output", outputs) +
            "ensemble_scheduling { step [\n" + ",\n".join(steps) + "\n] }\n" + more + parameters(**values))


# I -> first -> T; T -> {left, right}; both -> join. Outputs of three different steps.
DIAMOND = (
    {"I": "16"}, {"L": "16", "T": "16", "J": "16"}, [
        step("join", {"A": "L", "B": "R"}, {"X": "J"}),
        step("left", {"INPUT": "T"}, {"OUTPUT": "L"}),
        step("first", {"INPUT": "I"}, {"OUTPUT": "T"}),
        step("right", {"INPUT": "T"}, {"OUTPUT": "R"}),
    ])


class Ensembles(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def add_diamond(self, **models):
        for name in ("first", "left", "right"):
            self.repository.add(name, **models.get(name, {}))
        self.repository.add("join", inputs=("A:FP32:-1x16", "B:FP32:-1x16"), outputs=("X:FP32:-1x16",),
                            **models.get("join", {}))

    def add_ensemble(self, name, text):
        self.repository.write(os.path.join(name, "config.pbtxt"), text)

    def serve(self, *args, **options):
        self.server = Server(self.repository, *args, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def index(self):
        return {m["name"]: (m["state"], m["reason"]) for m in self.server.post("/v2/repository/index").json()}

    def stats(self, model):
        return self.server.get("/v2/models/%s/stats" % model).json()["model_stats"][0]

    def successes(self, model):
        return self.stats(model)["inference_stats"]["success"]["count"]

    def wait_idle(self):
        wait_for(lambda: all(m["waiting"] == 0 and m["running"] == 0 for m in self.server.status()["models"]),
                 "nothing waits or runs")

    def ask(self, model="e", items=1, first=0.0, client=None, **more):
        body = infer_json(tensor("I", "FP32", [items, 16], [first + i for i in range(16 * items)]), **more)
        path = "/v2/models/%s/infer" % model
        return client.request("POST", path, body) if client else self.server.post(path, body)


class Answers(Ensembles):
    def test_is_a_model_to_clients(self):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=5000))
        s = self.serve()
        self.assertEqual(s.get("/v2/models/e/ready").status, 200)
        self.assertEqual(s.get("/v2/models/e/versions/1/ready").status, 200)
        metadata = s.get("/v2/models/e").json()
        self.assertEqual(metadata["platform"], "ensemble")
        self.assertEqual(metadata["inputs"], [{"name": "I", "datatype": "FP32", "shape": [-1, 16]}])
        self.assertEqual([o["name"] for o in metadata["outputs"]], ["L", "T", "J"])
        config = s.get("/v2/models/e/config").json()
        self.assertEqual(len(config["ensemble_scheduling"]["step"]), 4)
        self.assertEqual(config["ensemble_scheduling"]["step"][0]["input_map"], {"A": "L", "B": "R"})
        self.assertEqual(self.index()["e"], ("READY", ""))
        self.assertEqual([t["step"] for t in s.model_status("e")["steps"]], ["join", "left", "first", "right"])
        s.stop()

    def test_each_step_runs_once_and_outputs_of_all_of_them_are_answered(self):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=5000))
        s = self.serve()
        for items in (1, 3, 8):
            r = self.ask(items=items, first=items, id="x")
            self.assertEqual(r.status, 200, r)
            self.assertEqual(r.json()["id"], "x")
            expected = ("FP32", [items, 16], [items + i for i in range(16 * items)])
            self.assertEqual(r.outputs(), {"L": expected, "T": expected, "J": expected})
        for model in ("first", "left", "right", "join", "e"):
            self.assertEqual(self.successes(model), 3, model)
            self.assertEqual(self.stats(model)["inference_count"], 12)
            self.assertEqual(s.metric("gpulet_requests_in_time_total", model=model), 3)
        self.assertEqual(s.metric("gpulet_slo_seconds", model="e"), 5)
        self.assertEqual(s.metric("gpulet_request_latency_seconds_count", model="e"), 3)
        self.assertEqual(s.model_status("e")["attainment"], 1.0)
        s.stop()

    def test_outputs_are_chosen_and_binary_as_for_any_model(self):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=5000))
        s = self.serve()
        values = [float(i) for i in range(32)]
        body, headers = binary([("I", "FP32", [2, 16], floats(values))],
                               outputs=[{"name": "J", "parameters": {"binary_data": True}}, {"name": "T"},
                                        {"name": "L", "parameters": {"binary_data": True}}])
        r = s.infer("e", body, headers=headers)
        self.assertEqual(r.status, 200, r)
        self.assertEqual(list(r.outputs()), ["J", "T", "L"])
        self.assertEqual(unfloats(r.outputs()["J"][2]), values)
        self.assertEqual(unfloats(r.outputs()["L"][2]), values)
        self.assertEqual(r.outputs()["T"][2], values)
        raw = s.infer("e", floats(values[:16]), headers={"Inference-Header-Content-Length": "0"})
        self.assertEqual(raw.status, 200, raw)
        self.assertEqual(unfloats(raw.outputs()["J"][2]), values[:16])
        s.stop()

    def test_bad_requests_are_answered_as_by_any_model(self):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=5000))
        s = self.serve()
        wrong = [
            (infer_json(tensor("I", "FP32", [9, 16], [0.0] * 144)), "batch-size must be <= 8"),
            (infer_json(tensor("I", "FP32", [1, 15], [0.0] * 15)), "unexpected shape"),
            (infer_json(tensor("I", "INT32", [1, 16], [0] * 16)), "data-type is 'INT32'"),
            (infer_json(tensor("N", "FP32", [1, 16], [0.0] * 16)), "N"),
            (infer_json(tensor("I", "FP32", [1, 16], [0.0] * 16), outputs=[{"name": "R"}]), "'R'"),
            (b"{", "parse"),
        ]
        for body, text in wrong:
            r = s.infer("e", body)
            self.assertEqual(r.status, 400, r)
            self.assertIn(text, r.error())
        self.assertEqual(self.successes("first"), 0)
        s.stop()

    def test_classes_have_the_labels_of_the_model_that_makes_them(self):
        labels = 'output { name: "OUTPUT" data_type: TYPE_FP32 dims: 16 label_filename: "labels.txt" }\n'
        self.repository.add("identity", config="max_batch_size: 8\n" + labels)
        self.repository.write("identity/labels.txt", "\n".join("class %d" % i for i in range(16)))
        steps = [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"})]
        self.add_ensemble("theirs", ensemble({"I": "16"}, {"O": "16"}, steps))
        self.add_ensemble("own", ensemble({"I": "16"}, {"O": FP32 % ("O", "16") + ' label_filename: "own.txt"'}, steps))
        self.repository.write("own/own.txt", "\n".join("own %d" % i for i in range(16)))
        s = self.serve()
        for model, label in (("theirs", "class 15"), ("own", "own 15")):
            r = self.ask(model, items=2, outputs=[{"name": "O", "parameters": {"classification": 1}}])
            self.assertEqual(r.status, 200, r)
            datatype, shape, data = r.outputs()["O"]
            self.assertEqual((datatype, shape), ("BYTES", [2, 1]))
            self.assertTrue(data[0].endswith("15:" + label), data)
        s.stop()

    def test_strings_and_several_inputs_pass_through(self):
        self.repository.add("strings", inputs=("TEXT:BYTES:-1x2",), outputs=("OUT:BYTES:-1x2",))
        self.repository.add("pair", inputs=("A:FP32:-1x4", "S:BYTES:-1x2"), outputs=("X:FP32:-1x4",))
        text = 'name: "%s" data_type: TYPE_STRING dims: [ 2 ]'
        self.add_ensemble("e", ensemble({"S": text % "S", "F": "4"}, {"T": text % "T", "X": "4"}, [
            step("strings", {"TEXT": "S"}, {"OUT": "M"}), step("strings", {"TEXT": "M"}, {"OUT": "T"}),
            step("pair", {"A": "F", "S": "M"}, {"X": "X"})]))
        s = self.serve()
        body, headers = binary([("S", "BYTES", [2, 2], strings(b"a", b"", b"\xff" * 300, b"d")),
                                ("F", "FP32", [2, 4], floats(range(8)))], parameters={"binary_data_output": True})
        r = s.infer("e", body, headers=headers)
        self.assertEqual(r.status, 200, r)
        self.assertEqual(r.outputs()["T"], ("BYTES", [2, 2], strings(b"a", b"", b"\xff" * 300, b"d")))
        self.assertEqual(unfloats(r.outputs()["X"][2]), list(range(8)))
        s.stop()

    def test_without_a_batch_dimension_each_step_has_its_own_items(self):
        """max_batch_size 0: shapes are whole, and a step's items are the first dimension of what it reads."""
        self.repository.add("wide", inputs=("IN:FP32:4x16",), outputs=("OUT:FP32:4x16",), config="max_batch_size: 0\n")
        self.repository.add("row", inputs=("IN:FP32:-1x16",), outputs=("OUT:FP32:-1x16",), config="max_batch_size: 4\n")
        self.add_ensemble("e", ensemble({"I": "4, 16"}, {"O": "4, 16"}, [
            step("wide", {"IN": "I"}, {"OUT": "M"}), step("row", {"IN": "M"}, {"OUT": "O"})], batch=0))
        self.add_ensemble("open", ensemble({"I": "-1, 16"}, {"O": "-1, 16"}, [step("row", {"IN": "I"}, {"OUT": "O"})], batch=0))
        s = self.serve()
        body = infer_json(tensor("I", "FP32", [4, 16], [float(i) for i in range(64)]))
        r = s.infer("e", body)
        self.assertEqual(r.status, 200, r)
        self.assertEqual(r.outputs()["O"], ("FP32", [4, 16], [float(i) for i in range(64)]))
        self.assertEqual(self.stats("row")["inference_count"], 4)
        self.assertEqual(self.stats("wide")["inference_count"], 1)
        self.assertEqual(s.infer("open", body).status, 200)
        r = s.infer("open", infer_json(tensor("I", "FP32", [5, 16], [0.0] * 80)))
        self.assertEqual(r.status, 400, r)
        self.assertIn("step 'row'", r.error())
        self.assertIn("batch-size must be <= 4", r.error())
        s.stop()

    def test_tensors_listed_in_another_order_than_in_the_file_are_told_apart(self):
        self.repository.add("m", inputs=("A:FP32:-1x2", "B:INT32:-1x3"), outputs=("X:FP32:-1x2", "Y:FP32:-1x3"), config=(
            'max_batch_size: 4\ninput [ { name: "B" data_type: TYPE_INT32 dims: 3 }, { name: "A" data_type: TYPE_FP32 dims: 2 } ]\n'
            'output [ { name: "Y" data_type: TYPE_FP32 dims: 3 } ]\n'))
        s = self.serve()
        r = s.infer("m", infer_json(tensor("A", "FP32", [1, 2], [1, 2]), tensor("B", "INT32", [1, 3], [3, 4, 5])))
        self.assertEqual(r.status, 200, r)
        self.assertEqual(list(r.outputs()), ["Y"])
        self.assertEqual(r.outputs()["Y"][1], [1, 3])
        s.stop()

    def test_outputs_have_the_shape_of_the_configuration(self):
        """reshape is what the engine sees, dims what clients, and the next step, see."""
        self.repository.add("square", inputs=("IN:FP32:-1x16",), outputs=("OUT:FP32:-1x16",), config=(
            'max_batch_size: 8\ninput { name: "IN" data_type: TYPE_FP32 dims: [ 16 ] }\n'
            'output { name: "OUT" data_type: TYPE_FP32 dims: [ 4, 4 ] reshape { shape: [ 16 ] } }\n'))
        self.repository.add("flat", inputs=("IN:FP32:-1x16",), outputs=("OUT:FP32:-1x16",), config=(
            'max_batch_size: 8\ninput { name: "IN" data_type: TYPE_FP32 dims: [ 4, 4 ] reshape { shape: [ 16 ] } }\n'))
        self.add_ensemble("e", ensemble({"I": "16"}, {"M": "4, 4", "O": "16"}, [
            step("square", {"IN": "I"}, {"OUT": "M"}), step("flat", {"IN": "M"}, {"OUT": "O"})]))
        s = self.serve()
        values = [float(i) for i in range(32)]
        r = s.infer("square", infer_json(tensor("IN", "FP32", [2, 16], values)))
        self.assertEqual(r.outputs()["OUT"], ("FP32", [2, 4, 4], values))
        r = self.ask(items=2)
        self.assertEqual(r.status, 200, r)
        self.assertEqual(r.outputs(), {"M": ("FP32", [2, 4, 4], values), "O": ("FP32", [2, 16], values)})
        s.stop()

    def test_what_the_client_gave_is_there_for_late_steps(self):
        """The last step reads the client's input again, long after others have come and gone."""
        self.add_diamond(first={"latency_ms": 3}, join={"latency_ms": 1})
        self.add_ensemble("e", ensemble({"I": "16"}, {"O": "16"}, [
            step("first", {"INPUT": "I"}, {"OUTPUT": "T"}), step("join", {"A": "I", "B": "T"}, {"X": "O"})]))
        s = self.serve()

        def answer(thread, number, client):
            first = float(thread * 1000 + number % 500)
            r = self.ask(first=first, client=client)
            assert r.status == 200, r
            assert r.outputs()["O"][2] == [first + i for i in range(16)], (first, r)
            return "ok"

        load = Load(s.port, 16, answer)
        wait_for(lambda: load.count() > 400, "400 answers")
        self.assertEqual(list(load.stop()), ["ok"])
        s.stop()

    def test_32_clients_at_once_get_their_own_answers(self):
        self.add_diamond(left={"latency_ms": 1}, right={"latency_ms": 2, "jitter": 0.9})
        self.add_ensemble("e", ensemble(*DIAMOND))
        s = self.serve()

        def answer(thread, number, client):
            first = float(thread * 1000 + number % 500)
            items = 1 + number % 3
            r = self.ask(items=items, first=first, client=client)
            assert r.status == 200, r
            expected = [first + i for i in range(16 * items)]
            assert all(o == ("FP32", [items, 16], expected) for o in r.outputs().values()), (expected, r)
            return "ok"

        load = Load(s.port, 32, answer)
        wait_for(lambda: load.count() > 1500, "1500 answers", 90)
        counts = load.stop()
        self.assertEqual(list(counts), ["ok"])
        self.assertEqual(self.successes("e"), counts["ok"])
        for model in ("first", "left", "right", "join"):
            self.assertEqual(self.successes(model), counts["ok"], model)
        self.wait_idle()
        s.stop()


class Ends(Ensembles):
    def check_whole(self, offered, **counts):
        """What has become of all requests of e."""
        status = self.server.model_status("e")
        self.assertEqual(status["offered"], offered)
        for name, count in counts.items():
            self.assertEqual(status[name], count, (name, status))
        self.assertEqual(offered, sum(status[n] for n in ("in_time", "late", "rejected", "failed", "cancelled")), status)

    def test_a_step_that_fails_ends_the_whole(self):
        self.add_diamond(left={"fail_run_every": 2}, right={"latency_ms": 20})
        self.add_ensemble("e", ensemble(*DIAMOND))
        s = self.serve()
        ok = failed = 0
        for _ in range(12):
            r = self.ask()
            if r.status == 200:
                ok += 1
            else:
                failed += 1
                self.assertEqual(r.status, 500, r)
                self.assertIn("step 'left': ", r.error())
        self.assertGreater(ok, 2)
        self.assertGreater(failed, 2)
        self.wait_idle()
        self.check_whole(12, failed=failed)
        self.assertEqual(self.successes("join"), ok)
        s.stop()

    def test_what_cannot_be_in_time_is_refused_before_the_first_step_runs(self):
        """The last step alone takes longer than the objective of the whole. Now and then one may try whether that is true."""
        self.add_diamond(join={"latency_ms": 600})
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=200))
        self.add_ensemble("slow", ensemble(*DIAMOND, slo_ms=60000))
        s = self.serve()
        self.assertEqual(self.ask("slow").status, 200)  # what the join takes is known from here on
        before = self.successes("first")
        begin = time.monotonic()
        tried = refused = 0
        while refused < 3:
            r = self.ask()
            if r.status == 200 or "step 'join'" in r.error():  # the latter where the machine stood still meanwhile
                tried += 1
                self.assertLessEqual(tried, 1 + (time.monotonic() - begin) / 0.8, "one in four times the objective")
                continue
            self.assertEqual(r.status, 503, r)
            self.assertIn("(model 'e', reason predicted_late)", r.error())
            self.assertIsNotNone(r.header("retry-after"))
            refused += 1
        self.assertEqual(self.successes("first") - before, tried)
        self.check_whole(tried + refused)
        self.assertGreaterEqual(s.metric("gpulet_requests_missed_total", model="e", reason="predicted_late"), 3)
        s.stop()

    def test_an_objective_that_was_believed_out_of_reach_is_tried_again(self):
        """By its profile the join is too slow for anything to be let in; now and then one is, and finds it quick."""
        self.add_diamond(join={"latency_ms": 2})
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=60))
        profile = "device,model,units,batch,latency_ms\n" + "".join(
            "fake,%s,100,1,%d\n" % (m, 500 if m == "join" else 1) for m in ("first", "left", "right", "join"))
        s = self.serve(profiles=self.repository.write(".profiles.csv", profile))
        wait_for(lambda: self.ask().status == 200, "an answer")
        wait_for(lambda: self.ask().status == 200 and self.ask().status == 200, "answers")
        s.stop()

    def test_overload_costs_no_step_that_is_run_for_nothing(self):
        self.add_diamond(left={"latency_ms": 150}, right={"latency_ms": 150})
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=700))
        s = self.serve()
        counts = {}

        def answer(_, number, client):
            r = self.ask(first=float(number), client=client)
            assert r.status in (200, 503), r
            return str(r.status)

        load = Load(s.port, 24, answer)
        wait_for(lambda: load.problems or load.count("503") > 20 and load.count("200") > 30, "refusals and answers")
        counts = load.stop()
        self.wait_idle()
        self.check_whole(sum(counts.values()), rejected=counts["503"])
        status = s.model_status("e")
        self.assertEqual(status["in_time"] + status["late"], counts["200"])
        # `left` and `right` take the time there is; hardly one of them ran for a request that was not answered.
        self.assertLessEqual(self.successes("left") + self.successes("right"), 2.5 * counts["200"] + 8)
        s.stop()

    def test_a_client_that_goes_away_calls_all_steps_off(self):
        # One item a run: one step runs and one is committed, and the others wait.
        one = {"latency_ms": 1500, "config": "max_batch_size: 1\n"}
        self.add_diamond(left=one, right=one)
        self.add_ensemble("e", ensemble(*DIAMOND, batch=1))
        s = self.serve()
        body = infer_json(tensor("I", "FP32", [1, 16], [0.0] * 16))
        clients = [Client(s.port) for _ in range(6)]
        for c in clients:
            c.send(head("POST", "/v2/models/e/infer", body) + body)
        # Later ones may still wait for their first step behind what runs: the first is answered after three seconds at the earliest.
        wait_for(lambda: s.model_status("e")["offered"] == 6, "all six read")
        for c in clients[:3]:
            c.close()
        for c in clients[3:]:  # looks the same, but these still read
            c.socket.shutdown(socket.SHUT_WR)
        for c in clients[3:]:
            r = c.read_response()
            self.assertEqual((r.status, r.error()), (400, "[request id: <id_unknown>] the client is gone"))
            self.assertTrue(c.is_closed())
            c.close()
        wait_for(lambda: s.model_status("e")["cancelled"] == 6, "all six cancelled")
        self.wait_idle()
        self.assertEqual(self.successes("join"), 0)
        # Of twelve only what ran or was committed when the clients went, and what came in its place before the server heard of it.
        self.assertLessEqual(self.successes("left") + self.successes("right"), 3)
        self.check_whole(6, cancelled=6)
        self.assertEqual(self.ask().status, 200)
        s.stop()

    def test_the_clients_own_timeout_holds_for_the_whole(self):
        self.add_diamond(join={"latency_ms": 200})
        self.add_ensemble("e", ensemble(*DIAMOND))
        s = self.serve()
        self.assertEqual(self.ask().status, 200)
        # One at a time may try whether it takes so long indeed; whoever comes beside it is refused.
        load = Load(s.port, 4, lambda thread, number, client: str(self.ask(client=client, parameters={"timeout": 50000}).status))
        wait_for(lambda: load.count("503") >= 12, "refusals")
        counts = load.stop()
        self.assertLess(counts.get("200", 0), counts["503"])
        self.assertEqual(self.ask(parameters={"timeout": 5000000}).status, 200)
        s.stop()

    def test_late_answers_are_served_where_the_ensemble_says_so(self):
        self.add_diamond(join={"latency_ms": 120})
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=50, late="serve"))
        s = self.serve()
        for _ in range(3):
            self.assertEqual(self.ask().status, 200)
        self.check_whole(3, late=3)
        s.stop()

    def test_a_worker_that_dies_loses_no_answer(self):
        self.add_diamond(right={"latency_ms": 3, "crash_run_every": 60})
        self.add_ensemble("e", ensemble(*DIAMOND))
        s = self.serve()

        def answer(_, number, client):
            r = self.ask(first=float(number), client=client)
            assert r.status in (200, 503), r
            return str(r.status)

        load = Load(s.port, 8, answer)
        wait_for(lambda: s.note_workers() and load.count("200") > 300, "300 answers", 90)
        counts = load.stop()
        self.wait_idle()
        self.check_whole(sum(counts.values()), rejected=counts.get("503", 0))
        s.stop()

    def test_no_free_memory_is_a_503(self):
        wide = {"inputs": ("INPUT:FP32:-1x200000",), "outputs": ("OUTPUT:FP32:-1x200000",), "latency_ms": 50}
        for name in ("first", "second"):
            self.repository.add(name, **wide)
        self.add_ensemble("e", ensemble({"I": "200000"}, {"O": "200000"}, [
            step("first", {"INPUT": "I"}, {"OUTPUT": "M"}), step("second", {"INPUT": "M"}, {"OUTPUT": "O"})]))
        s = self.serve(input_mb=2)
        data = floats([1.0] * 200000)
        body, headers = binary([("I", "FP32", [1, 200000], data)], parameters={"binary_data_output": True})

        def answer(_, number, client):
            del number
            r = client.request("POST", "/v2/models/e/infer", body, headers)
            assert r.status in (200, 503), r
            assert r.status == 503 or r.outputs()["O"][2] == data
            assert r.status == 200 or "memory" in r.error(), r
            return str(r.status)

        load = Load(s.port, 8, answer)
        wait_for(lambda: load.count("503") > 5 and load.count("200") > 5, "both answers")
        load.stop()
        self.wait_idle()
        self.assertEqual(s.infer("e", body, headers=headers).status, 200)
        s.stop()

    def test_shutting_down_answers_what_runs(self):
        self.add_diamond(left={"latency_ms": 300}, right={"latency_ms": 300}, join={"latency_ms": 300})
        self.add_ensemble("e", ensemble(*DIAMOND))
        s = self.serve()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.ask().status)) for _ in range(2)]
        for t in threads:
            t.start()
        wait_for(lambda: s.model_status("e")["running"] == 2, "both run")
        s.stop()
        for t in threads:
            t.join(30)
        self.assertEqual(answers, [200, 200], "later steps too")


class Configurations(Ensembles):
    WRONG = {
        "unknown-model": (ensemble({"I": "16"}, {"O": "16"}, [step("nowhere", {"INPUT": "I"}, {"OUTPUT": "O"})]),
                          "step 'nowhere': model 'nowhere' is not in the repository"),
        "unknown-version": (ensemble({"I": "16"}, {"O": "16"}, [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"}, 7)]),
                            "step 'identity': model 'identity' version 7 is not served"),
        "nested": (ensemble({"I": "16"}, {"O": "16"}, [step("good", {"I": "I"}, {"O": "O"})]),
                   "step 'good': model 'good' is an ensemble itself, which is not supported: name its steps here"),
        "broken-model": (ensemble({"I": "16"}, {"O": "16"}, [step("bad", {"INPUT": "I"}, {"OUTPUT": "O"})]),
                         "step 'bad': model 'bad': "),
        "unknown-input": (ensemble({"I": "16"}, {"O": "16"}, [step("identity", {"IN": "I"}, {"OUTPUT": "O"})]),
                          "step 'identity': input_map: model 'identity' has no input 'IN'"),
        "unknown-output": (ensemble({"I": "16"}, {"O": "16"}, [step("identity", {"INPUT": "I"}, {"OUT": "O"})]),
                           "step 'identity': output_map: model 'identity' has no output 'OUT'"),
        "missing-input": (ensemble({"I": "16"}, {"O": "16"}, [step("two", {"A": "I"}, {"X": "O"})]),
                          "step 'two': input_map: expected input 'B' of model 'two' as well"),
        "batch": (ensemble({"I": "16"}, {"O": "16"}, [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"})], batch=100),
                  "step 'identity': model 'identity' has max_batch_size 32, the ensemble 100"),
        "unbatched-step": (ensemble({"I": "16"}, {"O": "16"}, [step("whole", {"IN": "I"}, {"OUT": "O"})]),
                           "step 'whole': model 'whole' has max_batch_size 0, the ensemble 8"),
        "type": (ensemble({"I": "16"}, {"O": "16"}, [step("ints", {"IN": "I"}, {"OUT": "O"})]),
                 "step 'ints' reads tensor 'I' as INT64, but input 'I' makes it FP32"),
        "output-type": (ensemble({"I": 'name: "I" data_type: TYPE_INT64 dims: 16'}, {"O": "16"},
                                 [step("ints", {"IN": "I"}, {"OUT": "O"})]),
                        "output 'O' reads tensor 'O' as FP32, but step 'ints' makes it INT64"),
        "shape": (ensemble({"I": "15"}, {"O": "16"}, [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"})]),
                  "step 'identity' reads tensor 'I' with the shape [-1,16], but input 'I' makes it [-1,15]"),
        "between": (ensemble({"I": "16"}, {"O": "4"}, [step("narrow", {"INPUT": "I"}, {"OUTPUT": "M"}),
                                                       step("narrow", {"INPUT": "M"}, {"OUTPUT": "O"})]),
                    "step 'narrow#2' reads tensor 'M' with the shape [-1,16], but step 'narrow' makes it [-1,4]"),
        "items": (ensemble({"I": "40, 16"}, {"O": "-1, 16"}, [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"})], batch=0),
                  "step 'identity': model 'identity' has max_batch_size 32, but tensor 'I' 40 items"),
        "circle": (ensemble({"I": "16"}, {"O": "16"}, [step("two", {"A": "I", "B": "M"}, {"X": "O"}),
                                                       step("identity", {"INPUT": "O"}, {"OUTPUT": "M"})]),
                   "stages wait for one another: 'two' after 'identity' after 'two'"),
        "no-scheduling": ('platform: "ensemble"\n', "platform ensemble: expected ensemble_scheduling with it"),
    }

    def add_models(self):
        self.repository.add("identity")
        self.repository.add("two", inputs=("A:FP32:-1x16", "B:FP32:-1x16"), outputs=("X:FP32:-1x16",))
        self.repository.add("narrow", outputs=("OUTPUT:FP32:-1x4",))
        self.repository.add("ints", inputs=("IN:INT64:-1x16",), outputs=("OUT:INT64:-1x16",))
        self.repository.add("whole", inputs=("IN:FP32:16",), outputs=("OUT:FP32:16",), config="max_batch_size: 0\n")
        self.repository.add("bad", config="max_batch_size: -1\n")
        self.add_ensemble("good", ensemble({"I": "16"}, {"O": "16"}, [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"})]))

    def test_each_says_what_is_wrong_with_it(self):
        self.add_models()
        for name, (text, _) in self.WRONG.items():
            self.add_ensemble(name, text)
        s = self.serve(skip_bad_models="true", batch_max=32)
        index = self.index()
        self.assertEqual(index["good"], ("READY", ""))
        for name, (_, reason) in self.WRONG.items():
            self.assertEqual(index[name][0], "UNAVAILABLE", name)
            self.assertIn(reason, index[name][1])
            r = self.ask(name)
            self.assertEqual(r.status, 400, r)
            self.assertIn(reason, r.error())
        self.assertEqual(self.ask("good").status, 200)
        s.stop()

    def test_the_server_does_not_start_with_a_wrong_one_unless_told_to(self):
        self.repository.add("identity")
        self.add_ensemble("e", self.WRONG["unknown-model"][0])
        with self.assertRaises(AssertionError) as caught:
            self.serve()
        self.assertIn("model e: step 'nowhere': model 'nowhere' is not in the repository", str(caught.exception))

    def change(self, verb, model, status=200):
        r = self.server.post("/v2/repository/models/%s/%s" % (model, verb))
        self.assertEqual(r.status, status, r)
        return r

    def test_follows_its_models_when_they_are_unloaded_and_loaded(self):
        self.add_models()
        self.repository.write("bad/config.pbtxt", "")
        s = self.serve()
        self.change("unload", "identity")
        self.assertEqual(self.index()["good"],
                         ("UNAVAILABLE", "step 'identity': model 'identity' is unavailable: unloaded"))
        r = self.ask("good")
        self.assertEqual(r.status, 400, r)
        self.assertIn("unavailable: unloaded", r.error())
        self.assertEqual(s.get("/v2/models/good/ready").status, 400)
        self.change("load", "identity")
        self.assertEqual(self.index()["good"], ("READY", ""))
        self.assertEqual(self.ask("good").status, 200)
        s.stop()

    def test_is_unloaded_loaded_added_and_changed_itself(self):
        self.add_models()
        self.repository.write("bad/config.pbtxt", "")
        s = self.serve()
        self.change("unload", "good")
        self.assertEqual(self.index()["good"], ("UNAVAILABLE", "unloaded"))
        self.assertEqual(self.index()["identity"], ("READY", ""))
        self.assertEqual(self.ask("good").status, 400)
        self.change("load", "good")
        self.assertEqual(self.ask("good").status, 200)
        self.add_ensemble("new", ensemble({"I": "16"}, {"O": "4"}, [step("narrow", {"INPUT": "I"}, {"OUTPUT": "O"})]))
        self.change("load", "new")
        self.assertEqual(self.ask("new").outputs()["O"][1], [1, 4])
        self.add_ensemble("new", ensemble({"I": "16"}, {"O": "16"}, [step("identity", {"INPUT": "I"}, {"OUTPUT": "O"})]))
        self.change("load", "new")
        self.assertEqual(self.ask("new").outputs()["O"][1], [1, 16])
        self.add_ensemble("new", self.WRONG["unknown-model"][0])
        r = self.change("load", "new", 400)
        self.assertIn("step 'nowhere'", r.error())
        self.assertEqual(self.ask("new").outputs()["O"][1], [1, 16])  # as it was
        s.stop()

    def test_models_change_under_a_load_of_the_ensemble(self):
        self.add_models()
        self.repository.write("bad/config.pbtxt", "")
        self.add_ensemble("e", ensemble({"I": "16"}, {"O": "16"}, [
            step("identity", {"INPUT": "I"}, {"OUTPUT": "M"}), step("identity", {"INPUT": "M"}, {"OUTPUT": "O"})]))
        s = self.serve()

        def answer(_, number, client):
            r = self.ask(first=float(number), client=client)
            return str(r.status) if r.status != 500 else "500 " + r.error()

        load = Load(s.port, 4, answer)
        for n in range(4):
            wait_for(lambda: load.count("200") > 50 * n, "answers")
            path = self.repository.write("identity/.new", script(latency_ms=n))
            os.rename(path, self.repository.join("identity", "1", "model.onnx"))
            self.change("load", "identity")
            s.note_workers()
        counts = load.stop()
        self.assertEqual(list(counts), ["200"])
        self.assertEqual(self.index()["e"], ("READY", ""))
        # One that does not fit any more takes the ensemble with it.
        path = self.repository.write("identity/.new", script(inputs=("INPUT:FP32:-1x5",), outputs=("OUTPUT:FP32:-1x5",)))
        os.rename(path, self.repository.join("identity", "1", "model.onnx"))
        self.change("load", "identity")
        state, reason = self.index()["e"]
        self.assertEqual(state, "UNAVAILABLE")
        self.assertIn("reads tensor 'I' with the shape [-1,5], but input 'I' makes it [-1,16]", reason)
        s.stop()

    def test_a_workload_may_name_it(self):
        self.add_models()
        self.repository.write("bad/config.pbtxt", "")
        workload = self.repository.write(".workload.csv", "model,rate_rps,slo_ms\ngood,5,1234\n")
        s = self.serve(workload=workload)
        self.assertEqual(s.model_status("good")["slo_ms"], 1234)
        self.assertEqual(self.ask("good").status, 200)
        s.stop()

    def test_a_configuration_given_with_the_load_may_be_one(self):
        self.add_models()
        self.repository.write("bad/config.pbtxt", "")
        s = self.serve()
        config = s.get("/v2/models/good/config").json()
        config["parameters"]["slo_ms"] = {"string_value": "777"}
        r = s.post("/v2/repository/models/good/load", json.dumps({"parameters": {"config": json.dumps(config)}}).encode())
        self.assertEqual(r.status, 200, r)
        self.assertEqual(s.model_status("good")["slo_ms"], 777)
        self.assertEqual(self.ask("good").status, 200)
        s.stop()


class Planning(Ensembles):
    def profile(self, **latency_ms):
        """Batches of 1 to 8 cost a fixed part and one for each item."""
        rows = ["fake,%s,%d,%d,%.6f" % (model, units, batch, (fixed + each * batch) * 100 / units)
                for model, (fixed, each) in latency_ms.items() for units in (25, 50, 75, 100) for batch in (1, 2, 4, 8)]
        return self.repository.write(".profiles.csv", "\n".join(["device,model,units,batch,latency_ms"] + rows) + "\n")

    def serve_planned(self, **options):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=400, rate_rps=10, late="serve"))
        return self.serve(profiles=self.profile(first=(1, 1), left=(20, 5), right=(2, 1), join=(4, 1)), planner="elastic",
                          rate_percentile="0", use_spare="false", **options)

    def test_shares_of_the_objective_fit_and_rates_add_up(self):
        s = self.serve_planned()
        plan = s.get("/gpulet/v1/plan").json()
        self.assertTrue(plan["feasible"], plan)
        models = {m["model"]: m for m in plan["models"]}
        self.assertEqual(sorted(models), ["first", "join", "left", "right"])
        share = {name: m["slo_ms"] for name, m in models.items()}
        self.assertLessEqual(share["first"] + max(share["left"], share["right"]) + share["join"], 400.001)
        self.assertGreater(share["left"], share["first"])  # time is worth more to it
        self.assertTrue(all(m["rate_rps"] == 10 for m in models.values()), models)
        for _ in range(5):
            self.assertEqual(self.ask().status, 200)
        s.stop()

    def test_a_model_of_several_ensembles_and_of_clients_has_the_smallest_objective(self):
        self.repository.add("identity", config=parameters(slo_ms=90, rate_rps=3))
        steps = [step("identity", {"INPUT": "I"}, {"OUTPUT": "M"}), step("identity", {"INPUT": "M"}, {"OUTPUT": "O"})]
        self.add_ensemble("long", ensemble({"I": "16"}, {"O": "16"}, steps, slo_ms=1000, rate_rps=5))
        self.add_ensemble("short", ensemble({"I": "16"}, {"O": "16"}, steps, slo_ms=100, rate_rps=7))
        s = self.serve(profiles=self.profile(identity=(1, 1)), planner="elastic", rate_percentile="0", use_spare="false",
                       follow="false")
        (model,) = s.get("/gpulet/v1/plan").json()["models"]
        self.assertAlmostEqual(model["slo_ms"], 50, 3)
        self.assertEqual(model["rate_rps"], 3 + 2 * 5 + 2 * 7)
        self.assertAlmostEqual(s.model_status("identity")["step_slo_ms"], 50, 3)
        # An ensemble that goes takes its demand along.
        for name, slo_ms, rate in (("short", 90, 13), ("long", 90, 3)):
            self.assertEqual(s.post("/v2/repository/models/%s/unload" % name).status, 200)
            (model,) = s.get("/gpulet/v1/plan").json()["models"]
            self.assertAlmostEqual(model["slo_ms"], slo_ms, 3)
            self.assertEqual(model["rate_rps"], rate)
        self.assertEqual(s.model_status("identity")["step_slo_ms"], 0)
        s.stop()

    def test_clients_of_a_step_alone_are_not_held_to_its_share(self):
        """The step has no objective of its own: whoever asks for it alone waits as long as it takes."""
        self.add_diamond(left={"latency_ms": 400, "config": "max_batch_size: 1\n"})
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=900, batch=1))
        s = self.serve()
        self.assertEqual(self.ask().status, 200)
        body = infer_json(tensor("INPUT", "FP32", [1, 16], [0.0] * 16))
        blocked = [Client(s.port) for _ in range(4)]
        begin = time.monotonic()
        for c in blocked:
            c.send(head("POST", "/v2/models/left/infer", body) + body)
        for c in blocked:
            self.assertEqual(c.read_response("POST").status, 200)
            c.close()
        self.assertGreater(time.monotonic() - begin, 0.9, "one of them waited for longer than its share")
        self.assertEqual(s.model_status("left")["offered"], 5)
        self.assertEqual(s.model_status("left")["rejected"], 0)
        s.stop()

    def test_a_plan_that_is_given_is_served_with_ensembles(self):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=400, rate_rps=10, late="serve"))
        plan = self.repository.write(".plan.json", plan_json([
            (50, 0, [("first", 4, 2), ("join", 4, 2)]), (50, 50, [("left", 4, 2), ("right", 4, 2)])]))
        s = self.serve(plan=plan)
        self.assertEqual(self.ask().status, 200)
        self.assertEqual(len(s.status()["gpulets"]), 2)
        s.stop()


if __name__ == "__main__":
    main()
