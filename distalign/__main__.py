"""`python -m distalign`, and `torchrun -m distalign train RECIPE` for several processes."""

from distalign.cli import main

if __name__ == "__main__":
    main()
