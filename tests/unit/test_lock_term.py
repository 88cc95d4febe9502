# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a contender for a lock knows, in every order in which answers and time can arrive."""

from __future__ import annotations

from ansible_collections.consulops.failover.plugins.module_utils._consul.lock_term import State, Term
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

TTL_S = 10.0
delays = st.floats(0, 15)


class Terms(RuleBasedStateMachine):
    """One term under renewals that arrive late, acquisitions, losses and a release, against a plain record of events."""

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.term = Term("session", TTL_S, self.now)
        self.last_renewal = self.now
        self.losses = 0
        self.was_held = False
        self.is_gone = False
        self.fences: set[int] = set()

    @rule(seconds=delays)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(took_s=delays)
    def a_renewal_succeeds(self, took_s: float) -> None:
        sent_at = self.now
        self.now += took_s
        self.term.mark_renewed(sent_at)
        if not self.is_gone:
            self.last_renewal = sent_at

    @rule(fence=st.integers(1, 1 << 40))
    def the_key_is_taken(self, fence: int) -> None:
        may_be_alive = not self.is_gone and self.now < self.last_renewal + TTL_S
        held_before = self.term.is_held(self.now)
        assert self.term.mark_acquired(fence, self.now) is self.term.is_held(self.now) is may_be_alive
        self.was_held |= may_be_alive
        if may_be_alive and not held_before and not self.fences:
            self.fences.add(fence)

    @rule()
    def consul_takes_it_away(self) -> None:
        is_loss = self.term.mark_lost()
        assert is_loss is (self.was_held and not self.is_gone)
        self.losses += is_loss
        self.is_gone = True

    @rule()
    def it_is_released(self) -> None:
        self.term.end()
        self.is_gone = True

    @invariant()
    def it_is_held_only_while_the_session_cannot_have_expired(self) -> None:
        if hasattr(self, "term") and self.term.is_held(self.now):
            assert not self.is_gone and self.was_held and self.now < self.last_renewal + TTL_S

    @invariant()
    def a_term_is_lost_once_at_most_and_never_held_again(self) -> None:
        if hasattr(self, "term"):
            assert self.losses <= 1
            assert self.term.is_over is self.is_gone
            assert self.term.state is not State.HELD or {self.term.fence} == self.fences


TestTerms = Terms.TestCase
