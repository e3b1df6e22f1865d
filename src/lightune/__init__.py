"""Fine-tune pretrained language models with Lightning and Hydra."""
