"""What crosses the pipe between the main process and its worker arrives unchanged, and garbage is named."""

import json
import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcheck.graph import Graph, Node, Site
from dropcheck.job import CapturedModel, Job, Outcome
from dropcheck.ops import BatchNorm, Dropout, Granularity, Input, Op, Weight
from dropcheck.result import AnalysisError, ErrorKind, Status
from dropcheck.shift import Evidence, NormShift, Shifts, Source
from dropcheck.wire import decode, encode

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph: operations of every kind, inputs among the earlier nodes."""
    names = draw(st.lists(st.text(), unique=True, max_size=8))
    nodes = []
    for position, name in enumerate(names):
        inputs = st.lists(st.sampled_from(names[:position]), max_size=3) if position else st.just([])
        sites = st.none() | st.from_type(Site)
        nodes.append(
            Node(
                name,
                draw(st.text()),
                draw(st.one_of([st.from_type(kind) for kind in get_args(Op)])),
                tuple(draw(inputs)),
                draw(st.none() | st.lists(st.integers(0, 2**40), max_size=4).map(tuple)),
                draw(sites),
                draw(sites),
                draw(st.booleans()),
            )
        )
    return Graph(tuple(nodes))


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_graph_survives_the_pipe(graph: Graph) -> None:
    assert decode(Graph, json.loads(json.dumps(encode(graph)))).nodes == graph.nodes


def test_outcome_survives_the_pipe() -> None:
    site = Site("nets.py", 3, 5, 3, 20)
    nodes = (
        Node("x", "x", Input(), shape=(2, 3)),
        Node("d", "d", Dropout("Dropout2d", 0.0, Granularity.CHANNEL), ("x",), site=site, built=site, training=False),
    )
    models = (CapturedModel("nets.py:Net", Status.ANALYSED, None, "fx", "", "2x3", Graph(nodes)),)
    outcome = Outcome(models, (AnalysisError("b.py", ErrorKind.IMPORT, "no module", "install it", "Traceback"),))

    back = decode(Outcome, json.loads(json.dumps(encode(outcome))))

    assert (back.errors, back.errors[0].details) == (outcome.errors, "Traceback")
    assert (back.models[0].graph or Graph(())).nodes == nodes
    assert back.models[0].status is Status.ANALYSED
    assert (back.models[0].capture, back.models[0].arguments) == ("fx", "")


@pytest.mark.parametrize("job", [Job("nets.py", path="/a/nets.py"), Job("a.b", module="a.b", symbol="N", call="p=0")])
def test_job_survives_the_pipe(job: Job) -> None:
    assert decode(Job, encode(job)) == job


def test_fields_at_their_default_are_left_out() -> None:
    nodes = (Node("x", "", Input()), Node("w", "fc", Weight("Linear", 8), ("x",)))
    assert encode(Graph(nodes)) == [
        {"name": "x", "path": "", "op": {"Input": {}}},
        {"name": "w", "path": "fc", "op": {"Weight": {"kind": "Linear", "fan_in": 8}}, "inputs": ["x"]},
    ]


def test_whole_numbers_are_rates_too() -> None:
    data = [{"name": "d", "path": "d", "op": {"Dropout": {"kind": "Dropout", "drop_rate": 0}}}]
    assert isinstance(decode(Graph, data)["d"].op, Dropout)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"op": {"Blur": {}}}, "node 'a': op: unknown kind 'Blur'"),
        ({"op": "Input"}, "node 'a': op: expected an object with one key, got 'Input'"),
        ({"op": {"Weight": {}}}, "node 'a': op: Weight: missing field 'kind'"),
        ({"op": {"Weight": {"kind": "Linear"}}}, "node 'a': op: Weight: missing field 'fan_in'"),
        ({"op": {"Input": {"p": 1}}}, "node 'a': op: Input: unknown field 'p'"),
        (
            {"op": {"Weight": {"kind": "Linear", "fan_in": "8"}}},
            "node 'a': op: Weight: fan_in: expected a value of type int, got '8'",
        ),
        (
            {"op": {"Dropout": {"kind": "Dropout", "drop_rate": True}}},
            "node 'a': op: Dropout: drop_rate: expected a finite number, got True",
        ),
        (
            {"op": {"Dropout": {"kind": "Dropout", "drop_rate": 10**400}}},
            "node 'a': op: Dropout: drop_rate: expected a finite number, got 1" + "0" * 79,
        ),
        (
            {"op": {"Pool": {"reduce": "min", "window": 4}}},
            "node 'a': op: Pool: reduce: expected one of 'max', 'mean', got 'min'",
        ),
        ({"op": {"Input": {}}, "shape": 3}, "node 'a': shape: expected a list, got 3"),
        ({"op": {"Input": {}}, "training": 1}, "node 'a': training: expected a value of type bool, got 1"),
        ({"op": {"Input": {}}, "inputs": ["b"]}, "'a' reads 'b', which is no earlier node"),
    ],
)
def test_wrong_data_is_refused_by_name(node: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        decode(Graph, [{"name": "a", "path": "a", **node}])


def test_place_of_an_error_is_named_from_the_outside_in() -> None:
    data = {"models": [{"target": "n.py:N", "status": "analysed", "graph": [{"name": "a", "path": "a"}]}]}
    with pytest.raises(ValueError, match=r"^Outcome: models: CapturedModel: graph: node 'a': missing field 'op'$"):
        decode(Outcome, data)
    with pytest.raises(ValueError, match=r"^expected an object for Job, got \[\]$"):
        decode(Job, [])


@pytest.mark.parametrize("value", [object(), float("nan"), (1, float("inf"))])
def test_only_json_is_encoded(value: object) -> None:
    with pytest.raises(TypeError, match=r"has no JSON form$"):
        encode(value)


def test_batch_norm_epsilon_of_zero_is_kept() -> None:
    graph = Graph((Node("n", "n", BatchNorm("BatchNorm1d", None, epsilon=0.0)),))
    assert decode(Graph, encode(graph)).nodes == graph.nodes


def test_predicted_shifts_survive_the_pipe() -> None:
    shift = NormShift("bn", 0.5, (Source("drop", 1.0, 0.5),), ("odd",), (0.4, 0.6))
    model = CapturedModel("a.py:A", Status.ANALYSED, shifts=Shifts(Evidence.WEIGHTS, {"bn": shift}))
    assert decode(CapturedModel, json.loads(json.dumps(encode(model)))) == model
    with pytest.raises(ValueError, match="expected an object"):
        decode(Shifts, {"evidence": "weights", "norms": []})
