"""How dropout before max-pooling ruins a good network, and how to see it and repair it: the whole story on digits.

Input: images 2x1x16x16. Output: one score per digit.

Run it (half a minute on one core, with scikit-learn for its digits): `python examples/recalibrate_story.py`. It trains
the network below, tests it, measures the shifts with dropcheck.probe, estimates the statistics of its batch norms again
with dropcheck.recalibrate, and tests the same weights once more.

What dropcheck says of the code: the noise of each block's dropout goes through a max-pool and a convolution into the
batch norm of the next block. The last block is the exception: no batch norm comes after it.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPOCHS, BATCH, DIGITS = 12, 64, 10


def block(in_channels: int, out_channels: int, drop_rate: float) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Dropout(drop_rate),
    ]


class DigitNet(nn.Module):
    def __init__(self, drop_rate: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *block(1, 24, drop_rate),
            *(nn.MaxPool2d(2), *block(24, 48, drop_rate)),
            *(nn.MaxPool2d(2), *block(48, 64, drop_rate)),
            *(nn.MaxPool2d(2), *block(64, 64, drop_rate)),
        )
        self.classifier = nn.Linear(64, DIGITS)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean((2, 3)))


class Digits:
    """Batches of digits and labels, every image moved and changed on its own each time they are run over."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.images))
        for start in range(0, len(self) * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            yield augmented(self.images[chosen]), self.labels[chosen]


def augmented(images: Tensor) -> Tensor:
    """Each moved by up to two pixels, its contrast changed: one change for all would be taken out by batch norm."""
    shifts = torch.zeros(len(images), 2, 3)
    shifts[:, 0, 0] = shifts[:, 1, 1] = 1.0
    shifts[:, :, 2] = torch.randint(-2, 3, (len(images), 2)) / (images.shape[-1] / 2)
    grid = F.affine_grid(shifts, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return moved * (1.0 + 0.1 * torch.randn(len(images), 1, 1, 1))


def load() -> tuple[Digits, Tensor, Tensor]:
    from sklearn.datasets import load_digits  # pip install scikit-learn

    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32).view(-1, 1, 8, 8) / 16.0
    images = (F.interpolate(images, size=16, mode="bilinear") - 0.3) / 0.37
    labels, order = torch.tensor(digits.target), torch.randperm(len(images))
    train, test = order[360:], order[:360]
    return Digits(images[train], labels[train]), images[test], labels[test]


def train(model: nn.Module, batches: Digits) -> None:
    steps = EPOCHS * len(batches)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    model.train()
    for _ in range(EPOCHS):
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float((model.eval()(images).argmax(1) == labels).float().mean())


def main() -> None:
    import dropcheck

    torch.manual_seed(0)
    batches, images, labels = load()
    model = DigitNet()
    train(model, batches)
    print(f"test accuracy as trained: {accuracy(model, images, labels):.3f}")
    for norm in dropcheck.probe(model, batches, attribute=True):
        blamed = ", ".join(f"{source.dropout} {source.share:.0%}" for source in norm.sources)
        print(f"  {norm.name}: Δ = {norm.delta:.2f}, predicted {norm.predicted:.2f}  {blamed}")
    for norm in dropcheck.recalibrate(model, batches):
        print(f"  {norm.name}: var / running var {norm.delta_before:.2f} → {norm.delta_after:.2f}")
    print(f"test accuracy recalibrated: {accuracy(model, images, labels):.3f}")


if __name__ == "__main__":
    main()
