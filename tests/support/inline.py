"""A worker's process without the worker: it takes messages from the broker and traces them as Celery does."""

import math
import queue as queues
from typing import Any

from celery import Celery
from celery.app.trace import build_tracer
from kombu.transport import memory


def empty_memory() -> None:
    """Empty the memory:// broker, which serves the whole process and in which other tests leave messages."""
    for queue in memory.Channel.queues.values():
        queue.queue.clear()


def run_messages(app: Celery, queue: str = "celery", most: float = math.inf) -> list[str]:
    """Run the messages in the queue, and those that they publish; return the names of the tasks, in order."""
    ran: list[str] = []
    with app.connection_for_read() as connection:
        source = connection.SimpleQueue(queue)
        try:
            while len(ran) < most:
                try:
                    message = source.get(block=False)
                except queues.Empty:
                    return ran
                message.ack()
                ran.append(message.headers["task"])
                run_message(app, message)
            return ran
        finally:
            source.close()


def run_message(app: Celery, message: Any) -> None:
    args, kwargs, embedded = message.payload
    task = app.tasks[message.headers["task"]]
    request = dict(message.headers) | {
        "args": args,
        "kwargs": kwargs,
        "callbacks": embedded["callbacks"],
        "errbacks": embedded["errbacks"],
        "chain": embedded["chain"],
        "chord": embedded["chord"],
        "delivery_info": dict(message.delivery_info),
    }
    build_tracer(task.name, task, app=app)(message.headers["id"], args, kwargs, request)
