"""Every metric over rows dealt out to two processes is what one process finds, also where one has no rows."""

import json
from pathlib import Path

import pytest
from conftest import command

pytestmark = pytest.mark.slow

SCRIPT = """
import json, os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp
from torchmetrics import MetricCollection
from lightune.tasks.metrics.entities import EntityScore
from lightune.tasks.metrics.generation import ROUGE, Degeneration, Distinct, SacreBLEU
from lightune.tasks.metrics.squad import SquadScore

TEXTS = ["a b c d e", "the cat sat on the mat", "e d c b a", "", "cat sat the mat on it"]
REFERENCES = [["a b c d f"], ["a cat sat on the mat", "the cat sat"], ["x"], ["y"], ["the cat sat on the mat it is"]]
TAGS = [["B-x", "I-x", "O"], ["B-y", "O", "B-x"], ["O", "O"], ["B-x"], ["I-y", "I-y"]]
GOLD = [["B-x", "I-x", "O"], ["B-y", "I-y", "O"], ["B-y", "O"], ["B-x"], ["I-y", "I-y"]]

def metrics():
    texts = {"bleu": SacreBLEU(score="bleu"), "chrf": SacreBLEU(score="chrf"), "rouge": ROUGE(),
             "d1": Distinct(n=1), "d2": Distinct(n=2), "degeneration": Degeneration(),
             "squad": SquadScore(version_2_with_negative=True)}
    return MetricCollection(texts, compute_groups=False), MetricCollection({"entities": EntityScore(["x", "y"])})

def measure(rows):
    texts, tags = metrics()
    for row in rows:
        texts.update([TEXTS[row]], [REFERENCES[row]])
        tags.update([TAGS[row]], [GOLD[row]])
    found = {name: float(value) for m in (texts, tags) for name, value in m.compute().items()}
    return found | {f"{name} signature": texts[name].signature() for name in ("bleu", "chrf")}

def work(rank, port, out, rows):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    found = measure(rows[rank])
    if rank == 0:
        out.put(found)
    dist.barrier()
    dist.destroy_process_group()

def both(rows):
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    context = mp.get_context("fork")
    out = context.Queue()
    ranks = [context.Process(target=work, args=(rank, port, out, rows)) for rank in (0, 1)]
    [p.start() for p in ranks]
    found = out.get(timeout=60)
    [p.join() for p in ranks]
    return found

torch.set_num_threads(1)
print(json.dumps([both([[0, 2, 4], [1, 3]]), both([[0, 1, 2, 3, 4], []]), measure(range(5))]))
"""


def test_two_processes_find_what_one_does(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = command(str(tmp_path / "script.py"))
    assert done.returncode == 0, done.stderr
    shared, lopsided, alone = json.loads(done.stdout)
    assert len(alone) > 15
    assert shared == alone
    assert lopsided == alone
    assert "nrefs:var" in alone["bleu signature"]  # one text of the second process has two
    assert 0 < alone["bleu"] < 100
    assert 0 < alone["d2"] < 1
    assert 0 < alone["f1/has_answer"] < 1
