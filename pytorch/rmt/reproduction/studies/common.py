"""What studies begin with, and how a plan is changed."""

from collections.abc import Sequence
from dataclasses import replace

from rmt.paper.experiments import find_row
from rmt.paper.published import cells_by_place
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import plan


def changed(base: Plan, name: str, flags: dict) -> Plan:
    """A plan with a name of its own and other flags."""
    return replace(base, name=name, options={**base.options, **flags})


def bases_of(plans: Sequence[Plan]) -> list[tuple[Plan, Plan]]:
    """Of a study's plans each that was changed from another of them, with that other.

    A changed plan's name begins with its base's.
    """
    return [(own, base) for own in plans for base in plans if own.name.startswith(f"{base.name}-")]


def of_table3(model: str, memory: int, bptt_unrolls: int, with_data: bool) -> Plan:
    """A row with segments of 128, which are 16 at mini scale."""
    return plan(find_row("table3", model, memory, bptt_unrolls, 128), "mini", with_data)


def both_of_text(with_data: bool) -> dict[str, Plan]:
    """The two that are compared."""
    return {
        "trxl10": of_table3("trxl", 10, 0, with_data),
        "rmt10-bptt1": of_table3("rmt", 10, 1, with_data),
    }


def of_figure4(*place: object) -> Plan:
    return plan(cells_by_place()[place], "mini")


# docs/differences.md says what they are. Without a cache there is nothing for cache to change, and
# of a task's samples nothing is replayed.
DIFFERENCES = {
    "positions": {"published_positions": True},
    "cache": {"published_cache": True},
    "replay": {"replay_from": "newest"},
    "init": {"mem_init": "shared"},
}


def published(base: Plan, *names: str) -> list[Plan]:
    """The base, with each of some DIFFERENCES, and with all of them."""
    plans, every = [base], {}
    for name in names:
        plans.append(changed(base, f"{base.name}-published-{name}", DIFFERENCES[name]))
        every |= DIFFERENCES[name]
    return [*plans, changed(base, f"{base.name}-published-all", every)]


ABLATED = {
    "mask": {"memory_mask": "causal"},
    "write": {"write_from": "learned"},
}


def ablated(base: Plan) -> list[Plan]:
    """The base, with equal first rows, and with each of ABLATED."""
    _, shared, _ = published(base, "init")
    each = [changed(base, f"{base.name}-{name}", flags) for name, flags in ABLATED.items()]
    return [base, shared, *each]
