"""The second half of tools/demo: drives gpuletd as its user would. Standard library, and numpy for the images."""
import json
import pathlib
import struct
import subprocess
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from models import ocr  # noqa: E402

BIN, REPOSITORY, WORK, SAMPLES = (pathlib.Path(word) for word in sys.argv[1:5])
LINE = "gpulet keeps its SLO"
# What the mixed load asks for: two fast models with a tight objective beside two slow and heavy ones.
WORKLOAD = "model,rate_rps,slo_ms\nlenet,300,10\ndigits,100,10\nresnet50,2,700\nvgg16,0.7,2000\n"
SECONDS = 12


class Server:
    """A gpuletd on free ports of the loopback address, ended by SIGTERM."""

    def __init__(self, *options):
        self.log = open(WORK / "gpuletd.log", "ab")
        self.process = subprocess.Popen(
            [BIN / "gpuletd", "--http-port", "0", "--metrics-port", "0", "--profiles", WORK / "profile.csv", "--store", "none", *options],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            sys.exit(f"gpuletd did not become ready; see {WORK}/gpuletd.log")
        self.url = "http://" + dict(word.split("=", 1) for word in line.split()[1:])["http"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self.log.close()
        if code != 0:
            sys.exit(f"gpuletd ended with {code}; see {WORK}/gpuletd.log")

    def infer(self, model, name, array, output):
        """One request with a binary tensor; the named output as (shape, floats)."""
        data = array.astype("<f4").tobytes()
        head = json.dumps({
            "inputs": [{"name": name, "datatype": "FP32", "shape": list(array.shape), "parameters": {"binary_data_size": len(data)}}],
            "outputs": [{"name": output, "parameters": {"binary_data": True}}]}).encode()
        request = urllib.request.Request(f"{self.url}/v2/models/{model}/infer", head + data,
                                         {"Inference-Header-Content-Length": str(len(head))})
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
            size = int(response.headers["Inference-Header-Content-Length"])
        shape = json.loads(body[:size])["outputs"][0]["shape"]
        return shape, struct.unpack(f"<{(len(body) - size) // 4}f", body[size:])


def small_repository():
    """Only the models of the demo, so that nothing else is loaded."""
    folder = WORK / "repository"
    folder.mkdir(exist_ok=True)
    for name in ("digits", "lenet", "ocr-rec", "resnet50", "vgg16"):
        link = folder / name
        if not link.exists():
            link.symlink_to((REPOSITORY / name).resolve())
    return folder


def load_repository():
    folder = WORK / "repository-load"
    folder.mkdir(exist_ok=True)
    for name in ("digits", "lenet", "resnet50", "vgg16"):
        link = folder / name
        if not link.exists():
            link.symlink_to((REPOSITORY / name).resolve())
    return folder


def show_recognition():
    import numpy
    samples = json.loads((SAMPLES / "digits.json").read_text())["samples"][:100]
    with Server("--model-repository", small_repository()) as server:
        right = 0
        for sample in samples:
            image = numpy.asarray(sample["image"], dtype="float32").reshape(1, -1)
            _, scores = server.infer("digits", "image", image, "logits")
            right += max(range(len(scores)), key=scores.__getitem__) == sample["label"]
        print(f"digits: {right} of {len(samples)} held-out images recognised through the server")
        tensor = ocr.rec_input(ocr.render_line(LINE))
        shape, values = server.infer("ocr-rec", "x", tensor, "softmax_11.tmp_0")
        characters = ocr.read_characters(REPOSITORY / "ocr-rec" / "characters.txt")
        text, _ = ocr.ctc_decode(numpy.asarray(values, dtype="float32").reshape(shape)[0], characters)
        print(f"ocr-rec: an image of the line \"{LINE}\" reads \"{text}\"")
        if right < 95 or text != LINE:
            sys.exit("the answers are not right")


def measure(planner, workload):
    with Server("--model-repository", load_repository(), "--workload", workload, "--planner", planner) as server:
        result = subprocess.run([BIN / "gpulet", "bench", "--url", server.url, "--workload", workload, "--duration-s", str(SECONDS),
                                 "--warmup-s", "2", "--json"], stdout=subprocess.PIPE, check=True, text=True)
        ask = [BIN / "gpulet", "status", "--url", server.url]
        status = subprocess.run(ask, stdout=subprocess.PIPE, check=True, text=True)
        plan = json.loads(subprocess.run([*ask, "--json"], stdout=subprocess.PIPE, check=True, text=True).stdout)
        gpulets = status.stdout.split("\n\n")[1]
        return json.loads(result.stdout)["models"], f"{gpulets}\n{verdict(plan)}"


def verdict(status):
    """Whether the plan that is served meets the objectives, and if not, what it misses."""
    if status["feasible"]:
        return "The plan meets every objective."
    return "The plan does not meet every objective: " + (status.get("plan_reason") or "see gpuletd's log").rstrip(".") + "."


def show_mixed_load():
    workload = WORK / "workload.csv"
    workload.write_text(WORKLOAD)
    slo = {row.split(",")[0]: float(row.split(",")[2]) for row in WORKLOAD.split()[1:]}
    rows = {}
    for planner, title in (("temporal", "temporal plan (the whole device in turns)"), ("elastic", "gpu-let plan")):
        rows[planner], gpulets = measure(planner, workload)
        print(f"\n{title}:\n{gpulets}")
    print(f"\nmixed load, {SECONDS} s, Poisson arrivals")
    print(f"{'':10} {'':8} |{'temporal':^34} |{'gpu-lets':^34}")
    print(f"{'model':10} {'SLO ms':>8} |" + f"{'p50 ms':>10} {'p99 ms':>10} {'in time':>12} |" * 2)
    for before, after in zip(rows["temporal"], rows["elastic"]):
        line = f"{before['model']:10} {slo[before['model']]:8.0f} |"
        for row in (before, after):
            line += f"{row['latency_ms_p50']:10.2f} {row['latency_ms_p99']:10.2f} {100 * row['attainment']:11.2f}% |"
        print(line)


show_recognition()
show_mixed_load()
