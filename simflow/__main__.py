"""``python -m simflow``, and so ``torchrun --nproc-per-node 8 -m simflow train …``: the command ``simflow``."""

from simflow.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
