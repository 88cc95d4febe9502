# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two opposite sets never both write, whatever the interleaving of the steps of their agents, old and new configurations mixed."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._replication.direction import (
    DESTINATION,
    SOURCE,
    DirectionRecord,
    Read,
    Record,
    Register,
    Taken,
    parse_direction,
    take_direction,
    take_register,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

# The destinations of the two sets. The source of each is the destination of the other.
DESTINATIONS = {"there": "west", "back": "east"}
SOURCES = {"there": "east", "back": "west"}


@dataclass
class Stores:
    """The registers of two datacenters, each changed atomically."""

    registers: dict[str, Register]
    index: int = 1

    @classmethod
    def empty(cls) -> Stores:
        return cls({"east": Register(None, 0), "west": Register(None, 0)})

    def answer(self, name: str, step: Read | Record) -> Register | None:
        """Carry out one step of a set."""
        place = (SOURCES if step.side == SOURCE else DESTINATIONS)[name]
        if isinstance(step, Read):
            return self.registers[place]
        if self.registers[place].at_index == step.at_index:
            self.index += 1
            self.registers[place] = Register(step.record, self.index)
        return None


class Agent:
    """One term of a set in an agent with a configuration. It may be stopped after any step, and go on much later."""

    def __init__(self, name: str, generation: int) -> None:
        self.name = name
        self.wanted = DirectionRecord(generation, name)
        self.begin()

    def begin(self) -> None:
        """Look at the direction anew, as it does from time to time."""
        self._steps = take_direction(self.wanted)
        self._step: Read | Record | None = next(self._steps)
        self.taken: Taken | None = None

    def go_on(self, stores: Stores) -> None:
        """Carry out one step."""
        if self._step is None:
            return
        try:
            self._step = self._steps.send(stores.answer(self.name, self._step))
        except StopIteration as ended:
            self._step, self.taken = None, ended.value

    def may_write(self, stores: Stores) -> bool:
        """Return whether Consul would carry out a batch, which checks the register of the destination."""
        if self.taken is None or self.taken.lost_to is not None:
            return False
        return stores.registers[DESTINATIONS[self.name]].at_index == self.taken.at_index


class Interleavings(RuleBasedStateMachine):
    """Agents begin, take steps one by one, end, and begin again, with any name and generation."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = Stores.empty()
        self.agents: list[Agent] = []
        self.highest = {"east": 0, "west": 0}

    @rule(name=st.sampled_from(sorted(DESTINATIONS)), generation=st.integers(1, 4))
    def an_agent_is_configured(self, name: str, generation: int) -> None:
        self.agents.append(Agent(name, generation))

    @precondition(lambda self: self.agents)
    @rule(data=st.data(), steps=st.integers(1, 6))
    def an_agent_goes_on(self, data: st.DataObject, steps: int) -> None:
        agent = data.draw(st.sampled_from(self.agents))
        for _step in range(steps):
            agent.go_on(self.stores)

    @precondition(lambda self: self.agents)
    @rule(data=st.data())
    def an_agent_looks_again(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.agents)).begin()

    @invariant()
    def only_one_direction_writes(self) -> None:
        assert len({agent.name for agent in self.agents if agent.may_write(self.stores)}) <= 1

    @invariant()
    def generations_only_grow(self) -> None:
        for place, register in self.stores.registers.items():
            generation = register.record.generation if register.record else 0
            assert generation >= self.highest[place]
            self.highest[place] = generation

    def teardown(self) -> None:
        """Left alone, the highest generation writes, unless both directions were given it."""
        for agent in self.agents:
            agent.begin()
        for _round in range(20):
            for agent in self.agents:
                agent.go_on(self.stores)
        for agent in self.agents:
            agent.begin()
            for _step in range(20):
                agent.go_on(self.stores)
        latest = max((agent.wanted.generation for agent in self.agents), default=0)
        names = {agent.name for agent in self.agents if agent.wanted.generation == latest}
        if len(names) == 1:
            writers = {agent.wanted for agent in self.agents if agent.may_write(self.stores)}
            assert writers == {DirectionRecord(latest, names.pop())}
        self.only_one_direction_writes()


def test_at_no_interleaving_do_both_directions_write() -> None:
    class Here(Interleavings):
        pass

    Here.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
    Here.TestCase("runTest").runTest()


def carried_out(stores: Stores, name: str, generation: int) -> Taken:
    agent = Agent(name, generation)
    while agent.taken is None:
        agent.go_on(stores)
    return agent.taken


def test_the_other_direction_ends_before_the_own_destination_is_written() -> None:
    """Also when the own destination cannot be reached: then nobody writes."""
    stores = Stores.empty()
    first = Agent("there", 1)
    while first.taken is None:
        first.go_on(stores)
    assert first.may_write(stores)
    steps = take_register(DirectionRecord(2, "back"), SOURCE)
    found = stores.answer("back", next(steps))
    stores.answer("back", steps.send(found))
    assert not first.may_write(stores)


def test_an_old_configuration_loses_and_one_generation_is_won_once() -> None:
    stores = Stores.empty()
    assert carried_out(stores, "there", 1).lost_to is None
    assert carried_out(stores, "back", 1).lost_to == DirectionRecord(1, "there")
    assert carried_out(stores, "back", 2).lost_to is None
    assert carried_out(stores, "there", 1).lost_to == DirectionRecord(2, "back")
    assert carried_out(stores, "there", 3).lost_to is None
    assert carried_out(stores, "there", 3).lost_to is None, "another host with the same configuration"


def test_a_register_is_read_as_it_was_written_and_anything_else_is_refused() -> None:
    record = DirectionRecord(7, "back")
    assert parse_direction(record.as_json()) == record
    others: list[t.Any] = ["", 1, {}, {"generation": True, "active": "x"}, {"generation": "1", "active": "x"}]
    others += [{"generation": 1, "active": None}, [1, "x"]]
    for other in others:
        with pytest.raises(ValueError):
            parse_direction(json.dumps(other).encode())
    with pytest.raises(ValueError):
        parse_direction(b"west")


def test_each_side_is_recorded_with_the_index_that_was_read() -> None:
    steps = take_direction(DirectionRecord(2, "back"))
    assert next(steps) == Read(SOURCE)
    assert steps.send(Register(DirectionRecord(1, "there"), 9)) == Record(SOURCE, DirectionRecord(2, "back"), 9)
    assert next(steps) == Read(SOURCE)
    assert steps.send(Register(DirectionRecord(2, "back"), 10)) == Read(DESTINATION)
