"""nn.Module → Graph: symbolic torch.fx first, a recorded run where that fails.

The interface the rest of dropcheck uses:

    construction_sites() -> context manager yielding a BuiltSites; while it is open every nn.Module constructed is
        remembered with the place of its constructor call. BuiltSites.by_path(model) -> dict[str, Site].
    ExampleInput(args, kwargs, spec): positional and keyword arguments for forward, and how reports name them.
    capture(model, inputs, *, twin, built) -> Capture(graph, how, input): tries symbolic tracing of ``model`` (any device,
        meta included), then a recorded run; ``inputs`` is an iterable of ExampleInput, tried in order until one runs;
        ``twin()`` returns a CPU copy of the model with real memory that may be run and changed;
        ``built`` maps module paths to construction sites. Raises CaptureError(message, hint).
"""
