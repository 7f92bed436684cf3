"""Answers with onnxruntime, tokenizers and numpy: python example.py TASK TEXT [SECOND TEXT]"""

import json
import sys
from itertools import compress
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = Path(__file__).parent
facts = json.loads((folder / "trivium.json").read_text(encoding="utf-8"))
if len(sys.argv) < 3 or sys.argv[1] not in facts["tasks"]:
    sys.exit(f"{__doc__}\nTASK is one of: {', '.join(facts['tasks'])}")
name, texts = sys.argv[1], sys.argv[2:]
task, cls, sep = facts["tasks"][name], facts["special"]["cls"], facts["special"]["sep"]
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_truncation()
tokenizer.no_padding()  # which some checkpoints' own files ask for
words = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
if task["encode"] == "separate":  # each text of a pair is a sequence of its own
    sequences = [([cls, *one, sep], [0] * (len(one) + 2)) for one in words]
else:  # [CLS] first [SEP] second [SEP]; the second one is segment 1
    joined = [cls, *words[0], sep, *words[1], sep]
    sequences = [(joined, [0] * (len(words[0]) + 2) + [1] * (len(words[1]) + 1))]
longest = max(len(ids) for ids, _ in sequences)
assert longest <= (task["max_length"] or facts["limit"]), "too long: trivium predict would cut it"
inputs = {input_: np.zeros((len(sequences), longest), np.int64) for input_ in facts["inputs"][:3]}
for row, (ids, segments) in enumerate(sequences):
    for input_, values in zip(inputs, (ids, [1] * len(ids), segments), strict=True):
        inputs[input_][row, : len(ids)] = values
if "pairs" in facts["inputs"]:
    inputs["pairs"] = np.array([[0, len(sequences) - 1]])
session = onnxruntime.InferenceSession(str(folder / facts["model"]))
said = session.run([facts["outputs"][name]], inputs)[0][0]
labels, decide = list((task.get("labels") or {}).values()), task.get("decide") or {}
told = said.astype(np.float64) if decide else said
prior, weights, threshold = (
    np.array([decide.get(setting, {}).get(label, other) for label in labels], told.dtype)
    for setting, other in (("prior", 1), ("weights", 1), ("thresholds", task.get("threshold", 1)))
)
if decide and (decide["temperature"] != 1 or decide["prior"]):  # what `trivium calibrate` found
    least = np.finfo(np.float32).tiny
    odds = np.log(told.clip(least)) - ("threshold" in task) * np.log((1 - told).clip(least))
    odds = np.exp((odds / decide["temperature"] + np.log(prior)).clip(-700, 700))
    told = odds / (1 + odds) if "threshold" in task else odds / odds.sum()
if "threshold" in task:  # any of the labels
    applies = told >= threshold
    answer = task["separator"].join(compress(labels, applies))
    confidence = np.where(applies, told, 1 - told).prod()
elif labels:  # one of them
    best = (told * weights).argmax()
    if decide.get("costs"):  # true label -> answer -> what that costs
        cost = np.array([[decide["costs"][true][other] for other in labels] for true in labels])
        best = (told @ cost).argmin()
    answer, confidence = labels[best], told[best]
else:
    answer, confidence = f"{told[0].clip(*task['range']):.6g}", 1
if confidence < (decide.get("abstain") or 0):
    answer = ""
    print(f"not answered: its confidence is {confidence:.3f}", file=sys.stderr)
print(answer)
