"""What a BFDProfile comes to: the terms of a session, and what it asks that is not granted.

The floor is what the bench holds without a false alarm; a profile below it negotiates up to it,
as RFC 5880 6.8.2 lets either side do. Three intervals at the floor are the shortest detection time
that was proven, so a smaller multiplier needs longer intervals for the same time.
"""

from __future__ import annotations

from onehop.model.bgp import BFDProfile
from onehop.model.reason import Reason, Refusal
from onehop.proto.bfd.session import Terms

# Seconds; `bench/bfd.py` holds the first for ten minutes beside a loaded speaker.
FLOOR = 0.05
# Without real-time priority any other process may take the processor for several ticks.
FLOOR_WITHOUT_PRIORITY = 0.1
_PROVEN_MULTIPLIER = 3


def terms(profile: BFDProfile, floor: float) -> tuple[Terms, tuple[Refusal, ...]]:
    """The terms that a profile gets with this floor, and what of it is not granted."""
    least = floor * max(1.0, _PROVEN_MULTIPLIER / profile.detect_multiplier)
    transmit, receive = profile.transmit_interval_ms / 1000, profile.receive_interval_ms / 1000
    granted = Terms(
        transmit=max(transmit, least),
        receive=max(receive, floor),
        multiplier=profile.detect_multiplier,
        is_passive=profile.passive_mode,
        minimum_ttl=profile.minimum_ttl,
    )
    refusals = [
        _raised(profile, field, asked, given)
        for field, asked, given in (
            ("transmitInterval", transmit, granted.transmit),
            ("receiveInterval", receive, granted.receive),
        )
        if given > asked
    ]
    if profile.echo_mode:
        detail = f"BFDProfile {profile.key}: spec.echoMode"
        refusals.append(Refusal(reason=Reason.BFD_ECHO_UNSUPPORTED, detail=detail))
    return granted, tuple(refusals)


def _raised(profile: BFDProfile, field: str, asked: float, given: float) -> Refusal:
    detail = (
        f"BFDProfile {profile.key}: spec.{field} {asked * 1000:g} ms with multiplier "
        f"{profile.detect_multiplier} becomes {given * 1000:g} ms"
    )
    return Refusal(reason=Reason.BFD_INTERVAL_RAISED, detail=detail)
