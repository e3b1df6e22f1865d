"""A pretrained model by name, and what makes it fast."""
