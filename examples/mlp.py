"""Multi-layer perceptrons for tabular data: the popular order of layers, and a better one.

Input: rows of features, 32x20. Output: one value per row.

What dropcheck says: ``TabularMLP`` repeats Linear-ReLU-Dropout-BatchNorm. Each batch norm stores the variance that the
dropout right before it has inflated, and at evaluation it divides by a spread that is no longer there: an error for
every hidden layer, and a second finding because half of the units are dropped. ``ReorderedMLP`` has the same layers in
an order without that fault: the batch norms come first, and the only dropout stands after the last of them, right
before the output layer. Nothing is reported there.
"""

from torch import Tensor, nn


class TabularMLP(nn.Module):
    def __init__(
        self,
        num_features: int = 20,
        hidden: tuple[int, ...] = (128, 64, 32),
        num_outputs: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = num_features
        for units in hidden:
            layers += [
                nn.Linear(width, units),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.BatchNorm1d(units),
            ]
            width = units
        layers.append(nn.Linear(width, num_outputs))
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        return self.layers(rows).squeeze(-1)


class ReorderedMLP(nn.Module):
    def __init__(
        self,
        num_features: int = 20,
        hidden: tuple[int, ...] = (128, 64, 32),
        num_outputs: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = num_features
        for units in hidden:
            layers += [nn.Linear(width, units, bias=False), nn.BatchNorm1d(units), nn.ReLU()]
            width = units
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, num_outputs)

    def forward(self, rows: Tensor) -> Tensor:
        return self.out(self.drop(self.body(rows))).squeeze(-1)
