"""dropcheck.probe: what it measures, from which batches, and what it says of odd norms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from by_hand import IMAGE, images, inputs_of, one_thread, seeded, stack, trained, variances
from torch import Tensor, nn

import dropcheck
from dropcheck import wire
from dropcheck.measure.probing import Probing
from dropcheck.shift.closed_forms import direct_shift
from dropcheck.table import MeasuredNorm, Moments, ShiftTable

__all__ = ["one_thread", "seeded"]  # fixtures for all of them


def probe(model: nn.Module, batches: Any, **options: Any) -> ShiftTable:
    return dropcheck.probe(model, batches, predicted=False, **options)


def test_evaluation_agrees_with_a_hook_that_keeps_everything() -> None:
    net, data = stack(), images(9, seed=2)
    table = probe(net, [*data, data[0][:5]])
    net.eval()
    with inputs_of(net) as seen, torch.no_grad():
        for batch in (*data, data[0][:5]):
            net(batch)
    for name, var in variances(seen).items():
        norm, module = table[name], net.get_submodule(name)
        torch.testing.assert_close(torch.tensor(norm.real_var_per_channel), var.float(), rtol=1e-6, atol=0.0)
        assert norm.real_var == pytest.approx(float(var.mean()), rel=1e-6)
        assert norm.moving_var == pytest.approx(float(module.running_var.mean()), rel=1e-6)
        assert norm.shift_ratio == pytest.approx(max(norm.real_var / norm.moving_var, norm.moving_var / norm.real_var))
        mean = torch.cat(seen[name], 1).mean(1)
        apart = (mean - module.running_mean).abs() / (module.running_var + module.eps).sqrt()
        assert norm.mean_shift == pytest.approx(float(apart.mean()), rel=1e-5)
        assert norm.samples == torch.cat(seen[name], 1).shape[1]
    assert (table.batches, table.samples, table.complete, table.notes) == (10, 9 * 16 + 5, True, ())


def test_training_agrees_with_a_hook_that_keeps_everything() -> None:
    """Dropout takes its place by a mask that both can draw: which values a sample loses depends on the sample."""

    class Masked(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            return x * (x.flatten(2).sum(2, keepdim=True).unsqueeze(3).mul(1e3).sin() > 0.0) * 2 if self.training else x

    net, data = stack(), images(6, seed=2)
    net[3], net[8] = Masked(), Masked()
    table = probe(net, data)
    net.train()
    with inputs_of(net) as seen, torch.no_grad():
        for batch in data:
            net(batch)
    for name, var in variances(seen).items():
        norm = table[name]
        assert norm.train_var == pytest.approx(float(var.mean()), rel=1e-6)
        assert norm.delta == pytest.approx(norm.real_var / float(var.mean()), rel=1e-6)
    assert table["6"].delta < 0.9


def test_case_a_is_the_closed_form() -> None:
    class Drop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(12)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(F.dropout(x, 0.4, self.training))

    data = [batch.flatten(1)[:, :12] for batch in images(60, size=64)]
    net = trained(Drop(), data)
    norm = probe(net, data)["norm"]
    assert norm.delta_error is not None
    expected = direct_shift(0.6, mean=0.5, var=1.0)
    assert norm.delta == pytest.approx(expected, abs=4.0 * norm.delta_error + 0.01)
    assert norm.shift_ratio == pytest.approx(1.0 / expected, rel=0.05)


def test_dropout_inside_attention_and_recurrent_layers_is_measured() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
            self.lstm = nn.LSTM(8, 8, 2, dropout=0.5, batch_first=True)
            self.one, self.other = nn.BatchNorm1d(8), nn.BatchNorm1d(8)

        def forward(self, x: Tensor) -> Tensor:
            attended, _ = self.attention(x, x, x)
            return self.one(attended.mean(1)) + self.other(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    data = [torch.randn(32, 5, 8) for _ in range(12)]
    table = probe(trained(Both(), data), data, attribute=True)
    assert table["one"].delta < 0.95
    assert table["other"].delta < 0.95
    assert [source.dropout for source in table["one"].sources] == ["attention"]
    assert [source.dropout for source in table["other"].sources] == ["lstm"]


class Inputs(nn.Module):
    """Takes what ``accept`` accepts, and drops some of it before a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(4)


class One(Inputs):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.drop(x))


class Two(Inputs):
    def forward(self, x: Tensor, scale: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is None or labels.dtype == torch.int64
        return self.norm(self.drop(x * scale))


class Whole(Inputs):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.norm(self.drop(batch["pixels"]))


class Anything(Inputs):
    def forward(self, *args: Tensor) -> Tensor:
        (x,) = args
        return self.norm(self.drop(x))


X, Y = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16)


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (One(), X),
        (One(), (X, Y)),
        (One(), [X, Y, Y]),
        (One(), ([X], Y)),
        (One(), {"x": X, "label": Y}),
        (One(), {"pixels": X}),
        (One(), X.numpy()),
        (One(), (X.numpy(), Y.numpy())),
        (Two(), (X, X, Y)),
        (Two(), ((X, X), Y)),
        (Two(), {"x": X, "scale": X, "labels": Y, "index": Y}),
        (Two(), ({"x": X, "scale": X}, Y)),
        (Whole(), {"pixels": X, "label": Y}),
        (Whole(), ({"pixels": X}, Y)),
        (Anything(), (X, Y)),
        (torch.nn.DataParallel(One()), (X, Y)),
    ],
)
def test_inputs_are_told_from_labels(model: nn.Module, batch: Any) -> None:
    table = probe(model, [batch] * 2)
    assert (table.samples, len(table)) == (32, 1)
    assert table.norms[0].name == "norm"
    assert table.norms[0].real_var is not None


def test_a_tensor_is_one_batch_and_an_iterator_is_run_over_once() -> None:
    assert probe(One(), X).batches == 1
    assert probe(One(), (batch for batch in [X, X, X])).batches == 3
    assert probe(One(), [X] * 5, max_batches=2).batches == 2


def test_the_same_seed_gives_the_same_table_whatever_was_drawn_before() -> None:
    class Augmented:
        def __iter__(self) -> Iterator[Tensor]:
            return (batch + torch.randn_like(batch) for batch in images(4))

    net = stack()
    one = probe(net, Augmented(), seed=3)
    torch.rand(7)
    assert probe(net, Augmented(), seed=3) == one
    assert probe(net, Augmented(), seed=4) != one


def test_a_standard_error_is_what_other_masks_and_data_make_of_delta() -> None:
    net = stack()
    tables = [probe(net, images(8, seed=seed), seed=seed) for seed in range(10, 22)]
    for name in ("6", "9"):
        deltas = torch.tensor([table[name].delta for table in tables])
        errors = torch.tensor([table[name].delta_error for table in tables])
        assert 0.5 < float(errors.mean() / deltas.std()) < 2.0
    few = probe(net, images(3))
    assert few["6"].delta_error is None
    assert "at least 4 batches" in few.notes[0]


def test_each_dropout_is_blamed_for_what_its_absence_mends() -> None:
    net = stack(0.5)
    table = probe(net, images(12), attribute=True)
    assert table["1"].sources == ()
    assert [source.dropout for source in table["6"].sources] == ["3"]
    assert {source.dropout for source in table["9"].sources} == {"3", "8"}
    assert sum(source.share for source in table["9"].sources) == pytest.approx(1.0)
    assert table["6"].sources[0].delta_without == pytest.approx(1.0, abs=0.01)
    net[3].p = 0.0
    alone = probe(trained(net, images(40)), images(12))["9"].delta
    (without,) = (source.delta_without for source in table["9"].sources if source.dropout == "3")
    assert without == pytest.approx(alone, rel=0.12)
    assert table["9"].delta < 0.8 * alone


def test_dropouts_of_every_kind_can_be_switched_off() -> None:
    class DropPath(nn.Module):
        def __init__(self, drop_prob: float) -> None:
            super().__init__()
            self.drop_prob = drop_prob

        def forward(self, x: Tensor) -> Tensor:
            return x * (torch.rand(len(x), 1) > self.drop_prob) / (1 - self.drop_prob) if self.training else x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.path, self.inner = DropPath(0.5), nn.Dropout(0.5, inplace=True)
            self.norms = nn.ModuleList(nn.BatchNorm1d(4) for _ in range(4))

        def forward(self, x: Tensor) -> list[Tensor]:
            first = F.dropout(x, 0.5, self.training)
            always = F.dropout(x, 0.5, True)
            dropped = (first, self.path(x), self.inner(x + 0.0), always)
            return [norm(one) for norm, one in zip(self.norms, dropped, strict=True)]

    data = [torch.randn(64, 4) for _ in range(16)]
    table = probe(trained(Net(), data), data, attribute=True)
    blamed = [[source.dropout for source in norm.sources] for norm in table]
    assert blamed == [["/dropout"], ["path"], ["inner"], []]
    assert table["norms.3"].delta == pytest.approx(1.0, abs=0.05)


def test_odd_norms_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.fleeting = nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
            self.synchronised, self.idle = nn.SyncBatchNorm(4), nn.BatchNorm1d(4)
            self.frozen, self.instance = nn.BatchNorm1d(4), nn.InstanceNorm1d(4, track_running_stats=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.synchronised(self.fleeting(self.shared(self.shared(x) * 3.0)))
            return self.instance(self.frozen(x).unsqueeze(2).expand(-1, -1, 5) * torch.randn(5))

    net = trained(Odd(), [X])
    net.frozen.eval()
    table = probe(net, [X] * 4)
    said = {norm.name: norm.remark for norm in table}
    assert list(said) == ["shared", "fleeting", "synchronised", "frozen", "idle"]
    assert "called 2 times" in str(said["shared"])
    assert "keeps no running statistics" in str(said["fleeting"])
    assert (table["fleeting"].moving_var, table["fleeting"].shift_ratio) == (None, None)
    assert said["synchronised"] is None
    assert str(said["frozen"]).startswith("frozen")
    assert "no forward reached it" in str(said["idle"])
    assert table["idle"].delta is None
    assert "InstanceNorm1d 'instance'" in table.notes[-1]


def test_norms_written_by_hand_are_named() -> None:
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(4))
            self.register_buffer("running_var", torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, self.running_mean, self.running_var, training=self.training)

    class FrozenByHand(ByHand):
        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(x, self.running_mean, self.running_var)

    table = probe(trained(nn.Sequential(nn.BatchNorm1d(4), ByHand(), FrozenByHand()), [X]), [X] * 4)
    (said,) = [note for note in table.notes if "not measured" in note]
    assert said == "ByHand '1' normalises by running statistics of its own and is not measured"


def test_a_shared_norm_has_the_mean_of_its_calls_variances() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) + self.norm(3.0 * x + 100.0)

    (norm,) = probe(Shared(), [X, 2.0 * X])
    data = torch.cat([X, 2.0 * X])
    assert norm.real_var == pytest.approx(float(5.0 * data.var(0).mean()), rel=1e-5)


def test_the_prediction_stands_beside_the_measurement() -> None:
    net = stack(0.5)
    table = dropcheck.probe(net, images(12), attribute=True)
    assert [norm.evidence for norm in table] == ["weights"] * 3
    assert table["6"].predicted == pytest.approx(table["6"].delta, rel=0.3)
    assert table["1"].prediction_error == pytest.approx(0.0, abs=1e-6)
    assert table["6"].sources[0].site == table["6"].site
    off = [norm.name for norm in table.mispredicted(0.0)]
    assert off == [norm.name for norm in table if norm.prediction_error]
    assert table.mispredicted(10.0) == ()


def test_without_data_smooth_noise_is_run() -> None:
    table = dropcheck.probe(stack(), example_input=torch.zeros(2, *IMAGE), predicted=False, max_batches=2)
    assert (table.data, table.batches) == ("synthetic smooth noise", 2)
    assert probe(stack(), images(1)).data != table.data


def test_a_table_is_data() -> None:
    table = dropcheck.probe(stack(), images(5), attribute=True)
    assert wire.decode(ShiftTable, json.loads(json.dumps(wire.encode(table)))) == table
    assert [one["name"] for one in json.loads(table.to_json())["norms"]] == ["1", "6", "9"]
    assert table.worst is table["9"]
    with pytest.raises(KeyError, match="there are '1', '6', '9'"):
        table["bn"]
    html = ShiftTable((MeasuredNorm("<b>", "BatchNorm2d", stored=Moments(1.0, 0.0)),), notes=("a & b",))._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "∞" in html
    assert "a &amp; b" in html


def test_it_can_be_stopped_at_any_time_and_tells_what_is_known() -> None:
    probing = Probing(stack())
    steps = probing.steps(images(5))
    assert next(steps).done == 1
    assert next(steps) == dropcheck.table.Progress(2, 5, 32)
    steps.close()
    table = probing.table()
    assert (table.batches, table.complete) == (2, False)
    assert table == _incomplete(probe(stack(), images(2)), table)


def _incomplete(table: ShiftTable, like: ShiftTable) -> ShiftTable:
    return ShiftTable(table.norms, 2, 32, data=like.data, complete=False, notes=table.notes)


def test_progress_is_told_after_every_batch() -> None:
    seen: list[tuple[int, int | None]] = []
    batches: Iterable[Any] = (batch for batch in images(3))
    probe(stack(), batches, progress=lambda step: seen.append((step.done, step.total)))
    assert seen == [(1, None), (2, None), (3, None)]
