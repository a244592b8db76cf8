"""A language model small enough for a study: a recurrent network over sequences of one length.

It has no prompts. It writes token by token and has no table of its probabilities, which is what sets it apart
from `Tabular`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distalign.checks import InputError


class Recurrent(nn.Module):
    r"""A recurrent language model:  log pi(y) = \sum_l log softmax(W h_l)(y_l).

    h_l is the state of a GRU after y_1 ... y_{l-1}.

    Args:
        vocabulary: tokens, at least 2.
        length: tokens of every sequence, at least 1.
        hidden: size of the state.
        sharpness: factor on the output layer of a new model: at 1 its law is close to uniform.

    Raises:
        InputError: a size is too small.

    Example:
        >>> model = Recurrent(vocabulary=3, length=4, hidden=8)
        >>> y = model.sample(5, torch.Generator().manual_seed(0))
        >>> y.shape, model.log_probs(y).shape
        (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self, vocabulary: int = 16, length: int = 12, hidden: int = 32, sharpness: float = 1.0
    ) -> None:
        """Make the layers with torch's default initialisation."""
        super().__init__()
        if vocabulary < 2 or length < 1 or hidden < 1:
            raise InputError(
                "vocabulary must be at least 2, length and hidden at least 1, got "
                f"{vocabulary}, {length} and {hidden}"
            )
        self.vocabulary, self.length = vocabulary, length
        self.embed = nn.Embedding(vocabulary + 1, hidden)  # the last row starts a sequence
        self.cell = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)
        with torch.no_grad():
            self.head.weight *= sharpness

    def log_probs(self, tokens: Tensor) -> Tensor:
        """log pi (n,) of sequences (n, L), in nats summed over the tokens."""
        begin = torch.full_like(tokens[:, :1], self.vocabulary)
        states, _ = self.cell(self.embed(torch.cat([begin, tokens[:, :-1]], dim=1)))
        return self.head(states).log_softmax(-1).gather(-1, tokens[..., None]).sum((1, 2))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, L) sequences drawn from the model."""
        token, state, drawn = torch.full((n, 1), self.vocabulary), None, []
        for _ in range(self.length):
            output, state = self.cell(self.embed(token), state)
            token = torch.multinomial(self.head(output[:, -1]).softmax(-1), 1, generator=generator)
            drawn.append(token)
        return torch.cat(drawn, dim=1)
