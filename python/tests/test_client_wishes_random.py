"""A room's wishes of `nexios.client` in random orders of calls, answers and losses, in virtual time."""

import asyncio
import json
import random

import pytest
from contract import unframed
from nexios.client import NexiosError, connect, dialogue
from simulated_network import Network
from virtual_time import VirtualLoop


class Play:
    """One client with one room, and a server that answers when the play says so."""

    def __init__(self, seed, refusals):
        self.random = random.Random(seed)
        self.refusals = refusals
        self.loop = VirtualLoop()
        self.network = Network(self.loop)
        self.is_member = False
        self.is_open = False
        self.unanswered = []
        self.joins = []  # [task, is replaced]
        self.leaves = []
        self.subscriptions = []
        self.client = connect("ws://a.test/live", stable_after=0)
        self.room = self.client.room("r")

    def run(self):
        asyncio.set_event_loop(self.loop)
        original, dialogue.dial = dialogue.dial, self.network.dial
        try:
            self.loop.run(lambda: self.loop.create_task(self.client.__aenter__()))
            for _ in range(40):
                self.random.choice(STEPS)(self)
                self.loop.settle()
                self.serve()
            self.finish()
        finally:
            dialogue.dial = original
            closing = self.loop.create_task(self.client.close())
            self.loop.settle()
            assert closing.done()
            self.loop.close()
            asyncio.set_event_loop(None)

    # --- the application

    def join(self):
        self.joins.append([self.task(self.room.join()), False])

    def leave(self):
        for join in self.joins:
            join[1] = True
        self.leaves.append(self.task(self.room.leave()))

    def cancel(self):
        waiting = [join for join in self.joins if not join[0].done()]
        if waiting:
            self.loop.run(self.random.choice(waiting)[0].cancel)

    def subscribe(self):
        self.subscriptions.append(self.loop.run(lambda: self.client.subscribe("r")))

    def unsubscribe(self):
        if self.subscriptions:
            self.loop.run(self.subscriptions.pop(self.random.randrange(len(self.subscriptions))))

    def task(self, call):
        return self.loop.run(lambda: self.loop.create_task(call))

    # --- the server

    @property
    def dial(self):
        return self.network.dials[-1]

    def serve(self):
        """Takes what the client has sent: never two frames of the room before an answer."""
        if not self.is_open:
            return
        for message in self.dial.connection.sent:
            header, _ = unframed(message)
            self.unanswered.append(header)
        self.dial.connection.sent.clear()
        assert len(self.unanswered) <= 1, self.unanswered

    def answer(self):
        if not (self.is_open and self.unanswered):
            return
        asked = self.unanswered.pop()
        if asked["type"] == "join" and self.random.random() < self.refusals:
            code = self.random.choice(["forbidden", "busy"])
            self.say({"type": "error", "id": asked["id"], "code": code, "message": ""})
            return
        told = "joined" if asked["type"] == "join" else "left"
        if self.is_member != (told == "joined"):
            self.is_member = not self.is_member
            self.say({"type": told, "room": "r"})
        self.say({"type": "ack", "id": asked["id"]})

    def say(self, header):
        self.dial.connection.say(f"\x1e{json.dumps(header)}\n")

    def lose(self):
        if self.is_open:
            self.dial.connection.cut()
            self.is_open = self.is_member = False
            self.unanswered.clear()

    def welcome(self):
        if not self.is_open:
            self.loop.advance(60_000, lambda: not self.dial.answer.done())
            self.dial.accept("nexios.v1")
            self.loop.settle()
            assert unframed(self.dial.connection.sent.pop(0))[0]["type"] == "hello"
            self.say({"type": "welcome", "id": "c1", "retry_ms": [0, 1]})
            self.is_open = True

    # --- the end

    def finish(self):
        self.welcome()
        self.refusals = 0
        for _ in range(20):
            self.loop.settle()
            self.serve()
            self.answer()
        self.loop.advance(6000)  # after which a passing refusal is tried again
        for _ in range(20):
            self.loop.settle()
            self.serve()
            self.answer()
        self.loop.settle()
        assert self.room.joined == self.is_member
        for task in [task for task, _ in self.joins] + self.leaves:
            assert task.done()
            if not task.cancelled() and task.exception() is not None:
                assert isinstance(task.exception(), NexiosError)


STEPS = [Play.join, Play.leave, Play.cancel, Play.subscribe, Play.unsubscribe, Play.lose, Play.welcome]
STEPS += [Play.answer] * 4


def wished(play):
    """The last wish, told from the calls alone."""
    explicit = [task for task, replaced in play.joins if not replaced and not task.cancelled()]
    return bool(explicit or play.subscriptions)


@pytest.mark.parametrize("seed", range(50))
def test_the_last_wish_wins(seed):
    play = Play(seed, refusals=0)
    play.run()
    assert play.is_member == wished(play)
    for task, replaced in play.joins:
        assert task.cancelled() or task.exception() is None or replaced


@pytest.mark.parametrize("seed", range(50))
def test_every_call_ends_and_both_sides_agree_where_the_server_refuses(seed):
    Play(seed, refusals=0.4).run()
