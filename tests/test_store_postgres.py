"""What every store promises, once more on PostgreSQL."""

from klein_channels.store.postgres import PostgresStore

from . import test_store_letters, test_store_queueing, test_store_sqlite
from .doubles import NOW
from .postgres import new_store_url


class OnPostgres:
    """Makes the tests of `StoreCase` and `LettersCase` those of the other engine."""

    def opened(self, **settings):
        store = PostgresStore(new_store_url(self), grace=0.0, durable=False, **settings)
        store.open(NOW)
        return store


def both(case):
    """The same tests on PostgreSQL."""
    return type(f"Postgres{case.__name__}", (OnPostgres, case), {"__module__": __name__})


for _module, _case in (
    (test_store_sqlite, test_store_sqlite.StoreCase),
    (test_store_letters, test_store_letters.LettersCase),
    (test_store_queueing, test_store_queueing.QueueingCase),
):
    for _found in list(vars(_module).values()):
        # With several servers no turn is begun as its event comes.
        _both = isinstance(_found, type) and _found is not _case and _found.__name__ != "BegunTests"
        if _both and issubclass(_found, _case):
            _made = both(_found)
            globals()[_made.__name__] = _made
del _both, _found, _made, _case, _module
