"""What a symbolically traced graph says: shapes from one run of it, and the calls it stands for."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import fx, nn

from dropcheck.capture.calls import Call, Value, owner_of, training_argument
from dropcheck.capture.catalogue import function_row, module_row
from dropcheck.capture.cheap import runs_cheaply, undropped
from dropcheck.capture.example import Budget, ExampleInput
from dropcheck.capture.names import plain_name, writes_its_argument
from dropcheck.capture.sites import CallSite
from dropcheck.capture.symbolic import PATH, SITE, Refused
from dropcheck.capture.tensors import tensors_in

_NO_TENSOR = {
    "size",
    "dim",
    "ndimension",
    "numel",
    "nelement",
    "_assert",
    "_assert_is_none",
    "shape",
    "device",
    "dtype",
}
_RESULT = "dropcheck_result"


def forget_shapes(graph: fx.Graph) -> None:
    """Removes what ``run`` noted, for a run that failed half way."""
    for node in graph.nodes:
        node.meta.pop(_RESULT, None)


def run(graph: fx.Graph, model: nn.Module, example: ExampleInput, budget: Budget) -> None:
    """Runs the traced graph once on ``example`` and notes every result's shape in it.

    ``model`` is the twin to run on. Whatever the operations raise is passed on; OverBudget when ``budget`` runs out.
    Raises Refused where symbolic values stood for what only a run shows: the methods of a graph, a frozen tensor.
    """
    for node in graph.nodes:
        if node.op == "get_attr" and "." not in node.target and not hasattr(model, node.target):
            raise Refused(f"tracing froze a tensor ({node.target}) that only one run would have")
    with runs_cheaply(model), torch.no_grad():
        _ShapeRun(model, graph, budget).run(*_positional(graph, model, example))
    strange = next(filter(_is_strange, graph.nodes), None)
    if strange is not None:
        raise Refused(f"what it calls {_name(strange)} is not torch's, and may run torch inside")


def _is_strange(node: fx.Node) -> bool:
    """Whether a node calls what the catalogue does not have and gets tensors from it."""
    if node.op not in ("call_method", "call_function") or isinstance(node.target, type):
        return False
    return node.meta[_RESULT].any and function_row(_name(node)) is None


def _positional(graph: fx.Graph, model: nn.Module, example: ExampleInput) -> list[Any]:
    """The example as the traced graph wants it: one value for every placeholder."""
    bound = inspect.signature(model.forward).bind(*example.args, **example.kwargs)
    symbolic = {node.target for node in graph.nodes if node.op == "placeholder"}
    given = [name for name in bound.arguments if name not in symbolic]
    if given:
        raise Refused(f"the example sets {', '.join(given)}, which tracing left at its default")
    return [bound.arguments.get(node.target) for node in graph.nodes if node.op == "placeholder"]


class _ShapeRun(fx.Interpreter):
    def __init__(self, model: nn.Module, graph: fx.Graph, budget: Budget) -> None:
        super().__init__(model, graph=graph)
        self.budget = budget

    def run_node(self, n: fx.Node) -> Any:
        self.budget.check()
        result = super().run_node(n)
        n.meta[_RESULT] = _Shapes(result)
        return result

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return super().call_function(undropped if target is nn.functional.dropout else target, args, kwargs)


class _Shapes:
    """What a node's result holds: the shape of its first tensor, whether it is a container of several, or a number."""

    def __init__(self, result: Any) -> None:
        tensors = list(tensors_in(result))
        self.any = bool(tensors)
        self.first = tuple(tensors[0].shape) if tensors else None
        self.container = not isinstance(result, torch.Tensor)
        self.number = result if isinstance(result, int | float) else None


def calls(graph: fx.Graph, model: nn.Module) -> list[Call]:
    """The calls of a traced graph, with shapes if it was run."""
    return _Reader(model).read(graph)


class _Reader:
    """Translates fx nodes, following in-place writes that fx leaves implicit."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.calls: list[Call] = []
        self.values: dict[fx.Node, Any] = {}  # a Value, a nest of them; for what holds no tensor a number, or None

    def read(self, graph: fx.Graph) -> list[Call]:
        for node in graph.nodes:
            match node.op:
                case "placeholder":
                    self._placeholder(node)
                case "get_attr":
                    self.values[node] = self._stored(str(node.target))
                case "output":
                    returned = self._replaced(node.args)
                    first = next(Call("output", "output", returned).tensors(), None)
                    self.calls.append(Call("output", "output", returned, shape=first.shape if first else None))
                case "call_module":
                    self._module(node)
                case _:
                    self._function(node)
        return self.calls

    def _stored(self, name: str) -> Value:
        """A parameter or buffer, or a tensor made of them while tracing, which is nobody's."""
        own = None if name.startswith("_tensor_constant") else name
        return Value(None, _attribute_shape(self.model, name), own)

    def _placeholder(self, node: fx.Node) -> None:
        if not node.users or all(_name(user) in _NO_TENSOR for user in node.users):
            self.values[node] = None
            return
        count = sum(call.target == "input" for call in self.calls)
        self._add(node, Call("input", f"input_{count}" if count else "input"))

    def _module(self, node: fx.Node) -> None:
        module = self.model.get_submodule(str(node.target))
        known = module_row(module)
        target = known[0] if known is not None else type(module).__name__
        args, kwargs = self._replaced(node.args), self._replaced(node.kwargs)
        call = Call(target, str(node.target), args, kwargs, module, where=_where(node), training=module.training)
        self._add(node, call)
        if getattr(module, "inplace", False) is True:
            self._overwrite(node)

    def _function(self, node: fx.Node) -> None:
        name = _name(node)
        args, kwargs = self._replaced(node.args), self._replaced(node.kwargs)
        result = node.meta.get(_RESULT)
        if isinstance(node.target, type):  # a named tuple or dataclass put together from tensors
            self.values[node] = (args, kwargs)
            return
        if name in _NO_TENSOR or (result is not None and not result.any and name != "setitem"):
            self.values[node] = None if result is None else result.number
            return
        inputs = node.all_input_nodes
        if result is None and inputs and all(self.values.get(argument) is None for argument in inputs):
            self.values[node] = None  # arithmetic on sizes
            return
        if name == "getitem" and self._is_container(node.args[0]):
            self.values[node] = self._element(node)
            return
        owner_path, owner = owner_of(self.model, Call("", "", args, kwargs))
        call = Call(name, node.meta.get(PATH, ""), args, kwargs, owner=owner, owner_path=owner_path, where=_where(node))
        flag = training_argument(call)
        call.training = flag is None or bool(flag)
        self._add(node, call)
        if _writes(node):
            self._overwrite(node)

    def _element(self, node: fx.Node) -> Value | None:
        source = node.args[0]
        value = self.values.get(source) if isinstance(source, fx.Node) else None
        result = node.meta.get(_RESULT)
        return Value(value.call, result.first if result else value.shape) if isinstance(value, Value) else None

    def _is_container(self, source: Any) -> bool:
        result = source.meta.get(_RESULT) if isinstance(source, fx.Node) else None
        return result is not None and result.container

    def _overwrite(self, node: fx.Node) -> None:
        """Whoever reads the first argument from now on reads this result."""
        written = node.args[0] if node.args else None
        if isinstance(written, fx.Node):
            self.values[written] = self.values[node]

    def _add(self, node: fx.Node, call: Call) -> None:
        result = node.meta.get(_RESULT)
        call.shape = result.first if result is not None else None
        self.values[node] = Value(len(self.calls), call.shape)
        self.calls.append(call)

    def _replaced(self, argument: Any) -> Any:
        def value(item: Any) -> Any:
            return self.values.get(item) if isinstance(item, fx.Node) else item

        return fx.node.map_aggregate(argument, value)


def _name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target).strip("_")
    if node.target is getattr:
        return str(node.args[1])
    return plain_name(node.target)


def _writes(node: fx.Node) -> bool:
    if node.op == "call_method":
        target = str(node.target)
        return target.endswith("_") and not target.startswith("__")
    return node.kwargs.get("inplace") is True or writes_its_argument(node.target)


def _where(node: fx.Node) -> CallSite | None:
    return node.meta.get(SITE)


def _attribute_shape(model: nn.Module, target: Any) -> tuple[int, ...] | None:
    value: Any = model
    for part in str(target).split("."):
        value = getattr(value, part, None)
    return tuple(value.shape) if isinstance(value, torch.Tensor) and not nn.parameter.is_lazy(value) else None
