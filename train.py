"""Fine-tune a pretrained language model: θ, learned on huge corpora, becomes θ + Δθ for one task.

python train.py                          the quickstart
python train.py model=bert data=imdb     BERT on IMDB
python train.py --help                   groups, options, examples
"""

from lightune.train import main

if __name__ == "__main__":
    main()
