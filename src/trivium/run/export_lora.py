"""A run's LoRA taken elsewhere: in PEFT's format, or merged into a plain BERT checkpoint."""

from contextlib import ExitStack
from pathlib import Path

from trivium.errors import RecipeError
from trivium.model.lora import lora_layers, merge_lora
from trivium.model.pretrained import save_encoder
from trivium.run.assembly.peft import export_peft
from trivium.run.folder.atomic import whole_folder
from trivium.run.folder.locks import alone
from trivium.run.folder.model import find_model, load_model
from trivium.run.folder.names import RECIPE
from trivium.run.folder.start import run_recipe
from trivium.run.folder.writable import refuse_no_folder


def export_lora(
    run: str | Path, *, peft: str | Path | None = None, merged: str | Path | None = None
) -> list[str]:
    """Write the LoRA of a run (or model folder); what it could not take along, in words.

    peft: folder for `adapter_config.json` and `adapter_model.safetensors`, which
    `peft.PeftModel.from_pretrained` reads. merged: folder for a Hugging Face checkpoint of the
    encoder with LoRA added to its weights, which `transformers.AutoModel` reads. Raises
    RecipeError for a model without LoRA, and for a folder that holds something.

        trivium.train("recipes/quickstart.yaml", "runs/lora", changes=["adapters=lora"])
        trivium.export_lora("runs/lora", peft="adapter", merged="encoder")
    """
    for wanted, what in ((peft, "the adapter"), (merged, "the encoder")):
        if wanted is not None:
            refuse_no_folder(Path(wanted), what)
    folder = find_model(Path(run))
    loaded = load_model(folder)
    encoder = loaded.model.encoder
    if not any(lora_layers(encoder)):
        raise RecipeError(f"{folder}: this model has no LoRA; there is nothing to export.")
    places = [Path(place) for place in (peft, merged) if place is not None]
    if not places:
        raise RecipeError("lora: say where to: --peft FOLDER, --merged FOLDER, or both.")
    with ExitStack() as locks:
        for place in places:
            locks.enter_context(alone(place))
            if place.exists() and (not place.is_dir() or any(place.iterdir())):
                raise RecipeError(f"{place}: is not empty; name another folder.")
        if peft is not None:
            with whole_folder(Path(peft)) as fresh:
                base = _base_name(Path(run), folder, loaded.freezes_base)
                export_peft(encoder, fresh, base)
        if merged is not None:
            merge_lora(encoder)
            with whole_folder(Path(merged)) as fresh:
                save_encoder(encoder, fresh)
                loaded.tokenizer.save(fresh)
    sides = [adapter.kind for adapter in loaded.adapters if not adapter.shared]
    return [f"{kind} stays behind: it has no place in that format" for kind in sides]


def _base_name(run: Path, folder: Path, frozen: bool) -> str:
    """What the LoRA is added to: the encoder it began with, if that was not trained as well."""
    if frozen and (run / RECIPE).is_file():
        encoder = run_recipe(run).encoder
        return "sentence-transformers/all-MiniLM-L6-v2" if encoder == "minilm" else encoder
    return str(folder.resolve())
