"""Classify a bundle's samples with NumPy and ONNX Runtime alone: run_example.py [POINT]."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

bundle = Path(__file__).resolve().parent
sys.path.insert(0, str(bundle))
from exit_policy import confidence  # noqa: E402 - these two files lie beside this one
from preprocess import preprocess  # noqa: E402

manifest = json.loads((bundle / "manifest.json").read_text())
point = manifest["operating_points"][(sys.argv[1:] or [*manifest["operating_points"]])[0]]
files = [bundle / stage["onnx"] for stage in manifest["networks"][point["network"]]["stages"]]
stages = [onnxruntime.InferenceSession(file) for file in files]
policy, samples = point["exit_policy"], np.load(bundle / manifest["samples"])
for number, x in enumerate(samples["x"]):
    if f"raw/{number}" in samples:  # what a sensor delivers
        x = preprocess(manifest["preprocessing"], samples[f"raw/{number}"])[0]
    x = x[None]
    for index, stage in enumerate(stages):
        logits, *features = stage.run(None, {"input": x})
        temperature = policy["temperatures"][index] if policy["temperatures"] else 1.0
        sure = confidence(logits, policy["measure"], temperature)[0]
        if index == len(stages) - 1 or sure >= policy["thresholds"][index]:
            break
        x = features[0]
    print(index, manifest["class_names"][logits.argmax()])  # noqa: T201
