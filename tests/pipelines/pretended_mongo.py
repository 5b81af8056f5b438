"""FiftyOne on a pretended MongoDB, mongomock: run with code of FiftyOne's on stdin, where no real one starts."""

import os
import sys
import warnings

warnings.simplefilter("ignore")  # those of FiftyOne's own libraries
os.environ |= {"FIFTYONE_DATABASE_URI": "mongodb://localhost", "FIFTYONE_DATABASE_VALIDATION": "false"}

import mongomock  # noqa: E402 after the settings
import pymongo  # noqa: E402
from mongomock.store import ServerStore  # noqa: E402

STORE = ServerStore.create() if hasattr(ServerStore, "create") else ServerStore()


class Client(mongomock.MongoClient):
    """One store for all clients, and what FiftyOne asks of a server."""

    _closed = False

    def __init__(self, *arguments, **options):
        options.pop("appname", None)
        super().__init__(*arguments, _store=STORE, **options)

    def server_info(self):
        return {"version": "7.0.0", "versionArray": [7, 0, 0, 0]}


pymongo.MongoClient = Client  # before FiftyOne and MongoEngine import it
exec(compile(sys.stdin.read(), "stdin", "exec"), {})
