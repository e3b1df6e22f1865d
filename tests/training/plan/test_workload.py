from pathlib import Path

import pytest
from lightning import Trainer
from transformers import AutoTokenizer

from lightune.data import DataModule, TextClassificationPreprocessor
from lightune.training.plan import workload


@pytest.mark.parametrize("options", [{}, {"doc_stride": 1}], ids=["texts", "windows"])
def test_tokens_are_counted_as_batches_have_them(tiny_bert: Path, reviews: Path, options: dict[str, int]):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    preprocessor = TextClassificationPreprocessor(tokenizer=tokenizer, max_length=6, **options)
    data = DataModule(preprocessor=preprocessor, path=str(reviews), batch_size=4)
    data.setup()
    masks = [batch["attention_mask"] for batch in data.train_dataloader()]
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False)
    run = workload.of_run(data, trainer, hidden_size=32)
    assert run.tokens == sum(mask.sum().item() for mask in masks)
    assert run.computed_tokens == sum(mask.numel() for mask in masks)
