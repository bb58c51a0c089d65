"""The command line of tools/make-models."""

import argparse
import os
import sys
import time

from . import catalog, repository


def _arguments():
    names = ", ".join(m.name for m in catalog.MODELS)
    parser = argparse.ArgumentParser(
        prog="make-models", description="Writes the example model repository, in Triton's layout.",
        epilog=f"Models: {names}.")
    parser.add_argument("folder", metavar="DIR", help="the model repository; what is there and current is left alone")
    parser.add_argument("--only", metavar="A,B", help="only these models, and what ensembles among them are made of")
    parser.add_argument("--samples", metavar="DIR", help="where held-out inputs go (default: samples beside DIR)")
    parser.add_argument("--verify", action="store_true",
                        help="afterwards run every model with ONNX Runtime's Python interface and report")
    args = parser.parse_args()
    known = {m.name: m for m in catalog.MODELS}
    wanted = args.only.split(",") if args.only else [m.name for m in catalog.MODELS if not m.on_request]
    for name in wanted:
        if name not in known:
            parser.error(f"no model is called '{name}'; there are {names}")
    wanted = [name for model in wanted for name in (*known[model].needs(), model)]
    args.models = [known[name] for name in dict.fromkeys(wanted)]
    args.folder = os.path.abspath(args.folder)
    args.samples = os.path.abspath(args.samples or os.path.join(args.folder, "..", "samples"))
    return args


def _make_all(args):
    os.makedirs(args.folder, exist_ok=True)
    kept = 0
    for model in args.models:
        if repository.is_current(model, args.folder, args.samples):
            kept += 1
            continue
        start = time.monotonic()
        size = repository.make(model, args.folder, args.samples)
        print(f"{model.name}: made, {size / 1e6:.1f} MB in {time.monotonic() - start:.1f} s", flush=True)
    if kept:
        print(f"{kept} of {len(args.models)} models were there already")


def main():
    args = _arguments()
    try:
        _make_all(args)
        if args.verify:
            from . import verify

            return 0 if verify.run(args.models, args.folder, args.samples) else 1
    except (OSError, RuntimeError) as error:
        print(f"make-models: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
