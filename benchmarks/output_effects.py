"""What reading off the weights what features say costs: seconds and memory, for one SAE of any size.

python -m benchmarks.output_effects --features 2048 --tokens 50257 --d-model 768
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from attnrules.ingest.output_effects import token_effects


def main() -> None:
    """Draw weights of the size asked for, compute the effects, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("features", 2048), ("tokens", 50_257), ("d-model", 768), ("kept", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(asked.features, asked.d_model, generator=generator)
    W_U = torch.randn(asked.d_model, asked.tokens, generator=generator).to(asked.device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    effects = token_effects(lambda start, stop: u[start:stop], asked.features, W_U, asked.kept, centred=True)
    seconds = time.perf_counter() - started
    beyond = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{asked.features} features x {asked.tokens} tokens x {asked.d_model}: {seconds:.1f} s,", end=" ")
    print(f"{beyond:.0f} MB beyond the weights, mean kurtosis {effects.kurtosis.mean():.3f}")


if __name__ == "__main__":
    main()
