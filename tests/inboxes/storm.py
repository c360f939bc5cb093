"""A process that takes in deliveries from many threads and says which ones it has acknowledged, until it is killed.

Arguments: the database, a name for the keys, how many threads, how many deliveries each, and `group` or `direct`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from rollback.adapters.inboxes.group_commit import GroupCommit
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.alert_ports import Delivery, Kept
from tests.inboxes.deliveries import a_delivery


def main(path: str, name: str, threads: int, each: int, way: str) -> None:
    inbox = SqliteInbox(path, lock_timeout=60.0)
    group = GroupCommit(inbox) if way == "group" else None

    def put(delivery: Delivery) -> Kept | None:
        return group.submit(delivery).result() if group is not None else inbox.put([delivery])[0]

    def send(thread: int, put: Callable[[Delivery], Kept | None]) -> None:
        for number in range(each):
            key = f"{name}-{thread}-{number}"
            kept = put(a_delivery(0, key=key))
            # One write of a short line is whole or not there; it happens only after the answer.
            os.write(1, f"{key} {'duplicate' if kept is None else kept.number}\n".encode())

    senders = [threading.Thread(target=send, args=(thread, put)) for thread in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    if group is not None:
        group.close()
    inbox.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
