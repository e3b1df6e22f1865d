"""What tests share: a tiny real model, small real files, and a training run as a user would start it."""

import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import forked
import pytest

ROOT = Path(__file__).parent.parent
TRAIN = str(ROOT / "train.py")
SHARED = ROOT.parent / "shared" / "data"
WORDS = {
    "positive": ["good", "great", "fine", "lovely", "superb"],
    "negative": ["bad", "awful", "poor", "boring", "dire"],
    "neither": ["the", "film", "is", "a", "very", "story", "and", "with", "plot"],
}

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the network
CACHE = tempfile.TemporaryDirectory(prefix="lightune-tests-", ignore_cleanup_errors=True)  # removed at exit
os.environ["HF_DATASETS_CACHE"] = CACHE.name  # read when datasets is imported
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = CACHE.name  # it keeps tables of Unicode
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models lose time where threads wait for each other
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HYDRA_FULL_ERROR", "1")


TRAINING = {"start", "train_here", "finished_run"}
"""Fixtures that train: what asks for them is slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    for item in items:
        # tests that lie beside this file run whole commands, or all of docs/ and conf/
        if item.path.parent == Path(__file__).parent or TRAINING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    # early, for workers of a DataLoader would start one that has imported less
    if any(item.get_closest_marker("slow") for item in session.items) and not session.config.option.collectonly:
        forked.start_server()


@pytest.fixture(autouse=True)
def _forget_own_packages() -> Iterator[None]:
    """Keep the packages that a test makes from the next, which may call its own the same."""
    path = [*sys.path]
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith(("acme_", "own_reviews"))]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT and its tokenizer, saved in the Hub's layout."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny bert"
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model: a random Llama with grouped heads, and a tokenizer with a template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny llama"
    tokenizer = save_tokenizer(folder)
    tokenizer.eos_token = "[MASK]"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '[SEP] ' + m['role'][0] + ' ' + m['content'] + ' [MASK]' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[SEP] a' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 128}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads)).save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path) -> Any:
    """Save a WordPiece tokenizer that knows the words of the toy reviews and all letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [word for group in WORDS.values() for word in group]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = dict.fromkeys([*special, *words, *letters, *("##" + letter for letter in letters)])
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def review(label: str, rng: random.Random) -> str:
    words = rng.sample(WORDS[label], 2) + rng.sample(WORDS["neither"], rng.randint(2, 7))
    rng.shuffle(words)
    return " ".join(words)


def write_reviews(path: Path, rows: int, *, seed: int = 0, delimiter: str = ",") -> Path:
    """Write a CSV of ``text,label`` rows, sorted by label as published data sets often are."""
    rng = random.Random(seed)
    labels = ["negative"] * (rows // 2) + ["positive"] * (rows - rows // 2)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["text", "label"])
        writer.writerows([review(label, rng), label] for label in labels)
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """120 toy reviews as a CSV."""
    return write_reviews(tmp_path / "reviews.csv", 120)


def from_run(folder: Path) -> Any:
    """Return the pretrained model that ``model.from_run`` names."""
    from omegaconf import OmegaConf

    from lightune.runs.load_run import make_pretrained

    model = {
        "_target_": "lightune.models.pretrained.PretrainedModel",
        "pretrained_model_name_or_path": "not looked at",
        "from_run": str(folder),
    }
    return make_pretrained(OmegaConf.create({"model": model}))


@pytest.fixture
def train_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bert: Path) -> Callable[..., dict[str, float]]:
    """Run ``train.py`` in this process with the tiny model; return its ``metrics.json``. The run is ``tmp_path/run``."""
    import json

    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    def run(*overrides: str) -> dict[str, float]:
        from lightune import train

        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)  # a second run is a new one
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(
                "train",
                [
                    f"model.pretrained_model_name_or_path='{tiny_bert}'",
                    f"run_dir='{folder}'",
                    "data.max_length=32",
                    "trainer.accelerator=cpu",
                    "trainer.precision=32-true",  # so that toys learn alike on every machine
                    "report=false",  # its seconds, for the tests of it
                    *overrides,
                ],
                return_hydra_config=True,
            )
            HydraConfig.instance().set_config(cfg)
        cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        saved = folder / ".hydra"  # as Hydra itself does, so that lightune can read the run
        saved.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(cfg, saved / "config.yaml")
        OmegaConf.save({"hydra": {"runtime": {"cwd": str(tmp_path)}}}, saved / "hydra.yaml")
        train.train(cfg)
        return json.loads((folder / "metrics.json").read_text())

    return run


def by_row(
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int,
    *, scale: float, window_size: tuple[int, int], enable_gqa: bool,
) -> Any:  # fmt: skip
    """What ``varlen_attn`` computes, one row after the other."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    assert torch.equal(cu_seq_q, cu_seq_k)
    assert cu_seq_q.dtype == torch.int32
    assert cu_seq_q[0] == 0 and cu_seq_q[-1] == len(query)
    assert max_q == max_k >= cu_seq_q.diff().max()
    rows = []
    for first, end in pairwise(cu_seq_q):
        place = torch.arange(end - first)
        left, right = (len(place) if side == -1 else side for side in window_size)
        mask = (place >= place[:, None] - left) & (place <= place[:, None] + right)
        states = (tensor[first:end].transpose(0, 1) for tensor in (query, key, value))
        rows.append(scaled_dot_product_attention(*states, attn_mask=mask, scale=scale, enable_gqa=enable_gqa))
    return torch.cat(rows, dim=1).transpose(0, 1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the CPU a machine with the kernel; return how many tokens each of its calls was given."""
    from lightune.models import padding_free

    calls: list[int] = []
    attention = padding_free.attention

    def unmasked(*arguments: Any, packed: Any = None, **settings: Any) -> Any:
        assert packed is None or not arguments[4].numel(), "a mask of (tokens, tokens) was made in vain"
        return attention(*arguments, packed=packed, **settings)

    def counted(query: Any, *arguments: Any, **settings: Any) -> Any:
        calls.append(len(query))
        return by_row(query, *arguments, **settings)

    monkeypatch.setattr(padding_free, "attention", unmasked)
    monkeypatch.setattr(padding_free, "varlen_attn", counted)
    monkeypatch.setattr(padding_free, "has_kernel", lambda base, device: True)
    return calls


def command(*arguments: str, cwd: Path = ROOT, fresh: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user would, and return what it printed. ``fresh`` imports all anew, in a process of its own."""
    is_forked = arguments[0].endswith(".py") or (arguments[0] == "-m" and arguments[1] in forked.MODULES)
    # these are read when libraries are imported
    if is_forked and not fresh and not any(name.startswith("HF_") for name in env.keys() - {"HF_TOKEN"}):
        return forked.run(*arguments, cwd=cwd, env={**os.environ, **env})
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A run by ``python train.py`` on a CSV of 400 rows, shared by the tests that read it."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_reviews(folder / "reviews.csv", 400)
    done = command(
        str(ROOT / "train.py"),
        "data=local",
        f"data.path={data.name}",
        f"model.pretrained_model_name_or_path='{tiny_bert}'",
        "data.max_length=32",
        "data.batch_size=8",
        "optimizer.lr=3e-3",
        "trainer=cpu",
        f"hydra.run.dir={folder / 'run'}",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    (folder / "run" / "stdout.txt").write_text(done.stdout)
    return folder / "run"


KILLER = """
import json, os, signal
import torch
from lightning import Callback

class Kill(Callback):
    '''Send a signal at a batch of an epoch: to this process, or to the one that started it; 0 raises.'''
    def __init__(self, *, batch, epoch, number=9, rank=0, validation=False, parent=False, once=None):
        self.at, self.number, self.rank, self.validation = (epoch, batch), number, rank, validation
        self.parent, self.once = parent, once
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if not self.validation and (trainer.current_epoch, batch_idx) == self.at:
            self.kill(trainer)
    def on_validation_batch_start(self, trainer, *_):
        if self.validation and not trainer.sanity_checking and trainer.current_epoch == self.at[0]:
            self.kill(trainer)
    def kill(self, trainer):
        if trainer.global_rank == self.rank and not (self.once and os.environ.get(self.once)):
            if self.number == 0:
                raise RuntimeError("planned")
            os.kill(os.getppid() if self.parent else os.getpid(), self.number)

class Spoil(Callback):
    '''Make the weights of one device NaN at a step.'''
    def __init__(self, *, step, rank):
        self.step, self.rank = step, rank
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.global_step, trainer.global_rank) == (self.step, self.rank):
            for weight in module.parameters():
                weight.data.fill_(float("nan"))

class ScheduleFree(torch.optim.Optimizer):
    '''Schedule-free SGD (Defazio et al., 2024): it trains at one point, and is measured at an average.'''
    def __init__(self, params, lr, beta=0.9, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, beta=beta, weight_decay=weight_decay, steps=0, train_mode=False))
    @torch.no_grad()
    def _go(self, train_mode):
        for group in self.param_groups:
            share = 1 - group["beta"] if train_mode else 1 - 1 / group["beta"]
            for weight in group["params"] if group["train_mode"] != train_mode else ():
                if "z" in self.state[weight]:
                    weight.lerp_(self.state[weight]["z"], share)
            group["train_mode"] = train_mode
    def train(self):
        self._go(True)
    def eval(self):
        self._go(False)
    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            assert group["train_mode"], "train() was not called"
            group["steps"] += 1
            new = 1 / group["steps"]
            for weight in group["params"]:
                if weight.grad is not None:
                    z = self.state[weight].setdefault("z", weight.clone())
                    weight.lerp_(z, new).add_(weight.grad, alpha=group["lr"] * (group["beta"] * (1 - new) - 1))
                    z.sub_(weight.grad, alpha=group["lr"])
        return loss

class Seen(Callback):
    '''Write down the rows of each batch, and their learning rate.'''
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        rows = [ids[mask.bool()].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"])]
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seen = {"epoch": trainer.current_epoch, "rank": trainer.global_rank, "rows": rows, "rate": rate}
        with open(os.path.join(trainer.default_root_dir, f"seen-{trainer.global_rank}.jsonl"), "a") as file:
            file.write(json.dumps(seen) + "\\n")

class Note(Callback):
    '''Write down what this process was given.'''
    def __init__(self, api_key=None):
        super().__init__()
    def on_train_start(self, trainer, module):
        given = {
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "threads": torch.get_num_threads(),
            "secret": os.environ.get("LIGHTUNE_SECRET_CALLBACKS__NOTE__API_KEY"),
            "ranks": trainer.world_size,
        }
        with open(os.path.join(trainer.default_root_dir, "note.json"), "w") as file:
            json.dump(given, file)
"""


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``train.py`` in a folder, on 121 rows with dropout; ``kill`` are the arguments of ``Kill``, above."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "killer.py").write_text(KILLER)
    write_reviews(folder / "reviews.csv", 121)

    def run(
        run_dir: Path | None,
        *overrides: str,
        kill: dict[str, Any] | None = None,
        launcher: Sequence[str] = (TRAIN,),
        cwd: Path = folder,
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        arguments = [
            "data=local",
            f"data.path={folder / 'reviews.csv'}",
            f"model.pretrained_model_name_or_path='{tiny_bert}'",
            "data.max_length=32",
            "data.batch_size=8",
            "optimizer.lr=1e-3",
            "trainer=cpu",
            "trainer.precision=32-true",
            "trainer.max_epochs=2",
            "trainer.log_every_n_steps=1",
            "report=false",
            *([f"hydra.run.dir='{run_dir}'"] if run_dir else []),
            *overrides,
        ]
        if kill is not None:
            arguments.append("+callbacks.kill._target_=killer.Kill")
            arguments += [f"+callbacks.kill.{name}={value}" for name, value in kill.items()]
        env = {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **env}
        return command(*launcher, *arguments, cwd=cwd, LIGHTUNE_ALLOWED_TARGETS="killer", **env)

    return run
