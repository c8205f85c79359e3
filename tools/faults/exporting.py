"""Faults of exports: they are interrupted at any time, and processes fork while other threads export."""

import gc
import os
import random
import signal
import threading
import time

import jax
import onnx_ir as ir

import j2o_core
from j2o_core.trace import _capture

NAMES = ["gelu", "dot_product_attention", "softmax", "relu", "silu"]


def exported() -> bytes:
    """The bytes of a model for which functions of `jax.nn` are captured."""
    model = j2o_core.to_onnx(_attention, [(1, 4, 2, 8)] * 3).model
    return ir.serde.serialize_model(model).SerializeToString(deterministic=True)


def _attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.gelu(jax.nn.dot_product_attention(q, k, v))


def interrupts(chance: random.Random, rounds: int) -> list[str]:
    """An export is interrupted at a random time: functions and settings are the same, later exports the same bytes."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    functions = [getattr(jax.nn, name) for name in NAMES]
    collector = gc.get_threshold(), gc.isenabled(), list(gc.callbacks)
    wanted = exported()
    begin = time.monotonic()
    exported()
    usual = time.monotonic() - begin
    handler = signal.signal(signal.SIGALRM, interrupt)
    wrong, hit = [], 0
    for number in range(rounds):
        try:
            signal.setitimer(signal.ITIMER_REAL, max(1e-4, chance.random() * usual))
            try:
                exported()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            hit += 1
        except Exception as error:  # noqa: BLE001 - raised out of an interrupted callback
            hit += 1
            del error
        same = all(one is getattr(jax.nn, name) for one, name in zip(functions, NAMES, strict=True))
        if not same or _capture._installed:
            wrong.append(f"interrupt {number}: functions stay replaced")
        if collector != (gc.get_threshold(), gc.isenabled(), list(gc.callbacks)):
            wrong.append(f"interrupt {number}: the garbage collector has other settings")
        if number % 10 == 0 and exported() != wanted:
            wrong.append(f"interrupt {number}: a later export has other bytes")
    signal.signal(signal.SIGALRM, handler)
    print(f"  {hit} of {rounds} exports were interrupted")
    return wrong


def forks(chance: random.Random, rounds: int) -> list[str]:
    """A process forks while another thread exports: the child has every function, and the lock is free there."""
    functions = [getattr(jax.nn, name) for name in NAMES]
    wanted = exported()
    wrong, going, others = [], threading.Event(), []
    replaced = 0

    def export_on() -> None:
        while not going.is_set():
            if exported() != wanted:
                wrong.append("an export of the thread has other bytes")
            others.append(1)

    thread = threading.Thread(target=export_on)
    thread.start()
    for number in range(rounds):
        time.sleep(chance.random() * 0.02)
        process = os.fork()
        if process == 0:
            # Code that takes locks of JAX may wait for ever here: only what is ours is looked at.
            same = all(one is getattr(jax.nn, name) for one, name in zip(functions, NAMES, strict=True))
            free = _capture._lock.acquire(timeout=5)
            os._exit(0 if same and free and not _capture._installed else 1)
        replaced += any(one is not getattr(jax.nn, name) for one, name in zip(functions, NAMES, strict=True))
        if os.waitpid(process, 0)[1]:
            wrong.append(f"fork {number}: the child has replaced functions or a held lock")
    going.set()
    thread.join()
    if not all(one is getattr(jax.nn, name) for one, name in zip(functions, NAMES, strict=True)):
        wrong.append("functions stay replaced in the parent")
    print(f"  {replaced} of {rounds} forks came while functions were replaced, during {len(others)} exports")
    return wrong
