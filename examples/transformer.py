"""A transformer encoder that classifies sequences of tokens: layer norm everywhere, dropout everywhere.

Input: token numbers 2x64:int64. Output: one score per class.

What dropcheck says: nothing. Layer norm computes its statistics from the very sequence it normalises, in training and
at evaluation alike. It stores nothing of the training-time variance, so there is nothing that dropout could spoil, and
a shift from further up would end here.
"""

import torch
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    """Attention and a feed-forward network, each on a normalised copy of the stream."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, stream: Tensor) -> Tensor:
        normed = self.norm1(stream)
        attended, _ = self.attention(normed, normed, normed, need_weights=False)
        stream = stream + self.drop(attended)
        return stream + self.drop(self.feed_forward(self.norm2(stream)))


class TransformerClassifier(nn.Module):
    def __init__(
        self,
        vocabulary: int = 10_000,
        max_length: int = 256,
        width: int = 128,
        heads: int = 4,
        depth: int = 4,
        num_classes: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(1, max_length, width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.drop(self.tokens(tokens) + self.positions[:, : tokens.shape[1]])
        for block in self.blocks:
            stream = block(stream)
        return self.head(self.norm(stream)[:, 0])
