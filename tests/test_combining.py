"""Combinations of methods that make no sense are refused, with the place and the reason."""

from pathlib import Path

import pytest

from tests.support.recipes import load, refusal

JOINT = "stages.0.sampler=joint"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["stages.0.combiner=pcgrad"],
            "stages.0.combiner: pcgrad combines the gradients of several tasks in a step, but the "
            "sampler annealed gives a step one task",
        ),
        (
            [
                "stages.0.combiner=pcgrad",
                "stages.0.sampler=sequential",
                "stages.0.batches_per_step=2",
            ],
            "sampler sequential gives a step one task; use `sampler: joint`",
        ),
        (
            ["stages.1.combiner=upgrad", "stages.1.sampler=joint"],
            "stages.1.combiner: upgrad combines the gradients of several tasks, but the stage "
            "trains only 'mood'",
        ),
        (
            ["stages.0.combiner=mgda", JOINT, "stages.0.trains=frozen"],
            "stages.0.combiner: mgda combines gradients of what tasks share, but nothing shared",
        ),
        (["stages.0.conflicts_every=5"], "stages.0.conflicts_every: compares the gradients of"),
        (
            ["adapters=[lora]", "stages.0.trains=bitfit"],
            "stages.0.trains: bitfit chooses among the encoder's own parameters, but lora freezes",
        ),
        (
            ["adapters=[{kind: houlsby, freeze_base: true}]", "stages.0.combiner=nash", JOINT],
            "nothing shared is trained",
        ),
        (
            ["stages.0.regularizers=[{kind: smart, weight: -1}]"],
            "stages.0.regularizers.0.weight: must be 0 or more, found -1",
        ),
        (
            ["tasks.mood={kind: ordinal, text: a, label: y, labels: [3, 1, 2]}"],
            "labels: 3, 1, 2 neither rise nor fall",
        ),
        (
            ["stages.0.select=sim", "tasks.mood.dev=m.csv"],
            "stages.0.select: sim has no `dev` file to judge by",
        ),
        (["adapters=[pals, pals]"], "adapters: pals stands twice"),
        (
            ["adapters=[{kind: pals, tasks: [moo]}]"],
            "adapters.0.tasks: no task 'moo'; did you mean 'mood'?",
        ),
        (["adapters=[{kind: pals, size: 10, heads: 3}]"], "size 10 is not a multiple of 3 heads"),
        (["stages.0.regularizers=[smart, smart]"], "smart stands twice"),
        (
            ["stages.1.regularizers=[{kind: smart, tasks: [sim]}]"],
            "stages.1.regularizers.0: the stage does not train 'sim'",
        ),
        (
            ["stages.1.regularizers=[{kind: bregman, weight: {sim: 2}}]"],
            "stages.1.regularizers.0: the stage does not train 'sim'",
        ),
        (["stages.1.reference=sim"], "stages.1.reference: the stage does not train 'sim'"),
        (
            ["stages.0.batches=adjusted", "stages.0.batch_size={mood: 3}"],
            "adjusted makes the tasks' sizes from one `batch_size`",
        ),
        (["tasks.mood.loss=mse"], "mse"),
        (["tasks.sim.loss=focal"], "focal"),
        (
            [
                "tasks.sim.head={kind: mlp, trunk: t, depth: 2}",
                "tasks.mood.head={kind: mlp, trunk: t, depth: 1}",
            ],
            "tasks.sim.head: shares the trunk 't' with task 'mood', so their `depth`",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, changes: list[str], said: str) -> None:
    lines = refusal(tmp_path, *changes)
    assert said in lines[0]
    assert len(lines) == 1


@pytest.mark.parametrize(
    "changes",
    [
        ["stages.0.combiner=pcgrad", "stages.0.batches_per_step=2"],
        ["stages.0.combiner=pcgrad", JOINT, "stages.0.trains=frozen", "adapters=[lora]"],
        ["adapters=[{kind: lora, freeze_base: false}]", "stages.0.trains=bitfit"],
        ["adapters=[lora, pals, houlsby]"],
        ["adapters=pals"],
        ["stages.2={name: last, epochs: 1}"],
        ["stages.0.regularizers=rdrop"],
        ["stages.1.guard=0.9", "tasks.mood.dev=m.csv", "tasks.sim.dev=s.csv"],
    ],
)
def test_what_makes_sense_is_not(tmp_path: Path, changes: list[str]) -> None:
    recipe = load(tmp_path, *changes)
    assert recipe.stages
