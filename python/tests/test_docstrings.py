"""Every public name says what it does and shows it, and what it shows is so."""

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import traceback
from types import MemberDescriptorType

import nexios
import nexios.settings
import nexios.testing
import pytest
from nexios.testing import AsyncTestClient

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# What the client says of whom the examples have.
REQUEST = {
    "headers": {"Authorization": "Bearer letmein"},
    "cookies": {"theme": "dark"},
    "origin": "http://testserver",
    "subprotocols": ["v2", "v1"],
    "compression": True,
}


def public_names():
    """The names that the package exports, and what its classes have, in an order that is the same every time."""
    found = {}
    for module in nexios, nexios.settings, nexios.testing:
        for name in module.__all__:
            found[f"{module.__name__}.{name}"] = value = getattr(module, name)
            if inspect.isclass(value):
                found |= {f"{module.__name__}.{name}.{member}": value for member, value in members(value)}
    ordered = sorted(found.items(), key=lambda item: item[0])
    return {name: value for name, value in ordered if inspect.isclass(value) or hasattr(value, "__get__")}


def members(kind):
    """Methods and properties of a class, its own and those of its bases here."""
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] != "nexios":
            continue
        for name, value in vars(base).items():
            is_data = isinstance(value, MemberDescriptorType) or name in getattr(kind, "_fields", ())
            if not name.startswith("_") and not is_data:
                yield name, value


NAMES = public_names()
# The test clients are shown by their classes, in plain doctests.
SHOWN = [name for name in NAMES if not name.startswith("nexios.testing.")]


def examples_of(name):
    return examples_of_text(inspect.getdoc(NAMES[name]))


def examples_of_text(text):
    return doctest.DocTestParser().get_examples(text)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_does(name):
    assert inspect.getdoc(NAMES[name])


@pytest.mark.parametrize("name", SHOWN)
def test_it_shows_what_it_does(name):
    assert examples_of(name)


@pytest.mark.parametrize("name", SHOWN)
def test_what_it_shows_is_so(name):
    examples = examples_of(name)
    names = {name: getattr(module, name) for module in (nexios, nexios.testing) for name in module.__all__}
    app = nexios.NexiosApp()
    names |= {"app": app, "asyncio": asyncio, "handler": handler, "__name__": "example"}
    if any(uses(example.source, {"ws", "client", "await"}) for example in examples):
        asyncio.run(beside_a_connection(examples, app, names))
    else:
        app.ws("/chat/{room}", name="chat")(handler)
        at_once(run(examples, names))


async def handler(ws):
    """What stands at `/chat/{room}`."""
    await ws.accept()
    await ws.wait_closed()


def uses(source, wanted):
    """Whether an example has one of these outside of functions that it defines."""
    tree = ast.parse(source)
    outside = [node for node in tree.body if not isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef))]
    found = [node for statement in outside for node in ast.walk(statement)]
    bound = {item.optional_vars.id for node in found if isinstance(node, ast.With) for item in node.items
             if isinstance(item.optional_vars, ast.Name)}  # fmt: skip
    names = {node.id for node in found if isinstance(node, ast.Name)} - bound
    return bool(wanted & names) or ("await" in wanted and any(isinstance(node, ast.Await) for node in found))


async def beside_a_connection(examples, app, names):
    """Runs examples that have a `ws`, and the client at its other end."""
    connected, ended = asyncio.get_running_loop().create_future(), asyncio.Event()

    @app.ws("/chat/{room}", name="chat", subprotocols=["v1"])
    async def hold(ws):
        await ws.accept(headers={"X-Server": "nexios"})
        connected.set_result(ws)
        await ended.wait()

    async with AsyncTestClient(app, client=("203.0.113.7", 50000)) as test:
        async with test.websocket_connect("/chat/general?name=ann", **REQUEST) as client:
            try:
                await run(examples, names | {"client": client, "ws": await connected})
            finally:
                ended.set()


async def run(examples, names):
    for example in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            await evaluate(example.source, names)
        got = printed.getvalue()
        check = doctest.OutputChecker()
        assert check.check_output(example.want, got, FLAGS), check.output_difference(example, got, FLAGS)


async def evaluate(source, names):
    """One statement, as at a prompt that knows `await`; what it raises is printed as there."""
    code = compile(source, "<example>", "single", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    try:
        result = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            await result
    except Exception as error:
        print("Traceback (most recent call last):\n    ...\n" + traceback.format_exception_only(error)[-1], end="")


def at_once(coroutine):
    """Runs to the end what waits for nothing; there is no event loop, so that examples may start one."""
    with pytest.raises(StopIteration):
        coroutine.send(None)
