"""After a commit of SQLAlchemy's session, a thread reads the changed rows into the cache."""

import threading

from dogpile.cache import make_region
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
region = make_region().configure("dogpile.cache.memory", expiration_time=60)
queries, refreshed = [], threading.Event()


class Base(DeclarativeBase):
    pass


class City(Base):
    __tablename__ = "city"
    name: Mapped[str] = mapped_column(primary_key=True)
    country: Mapped[str]


Base.metadata.create_all(engine)


@region.cache_on_arguments()
def cities(country):
    queries.append(country)
    with Session(engine) as session:
        found = session.scalars(select(City).where(City.country == country).order_by(City.name))
        return [city.name for city in found]


def after_commit(session, refresh, *arguments):
    @event.listens_for(session, "after_commit", once=True)
    def start(_):
        def work():
            refresh(*arguments)
            refreshed.set()

        # The connection is one for all here: the session is done with it first.
        later.append(threading.Thread(target=work))


later = []


def add(name, country):
    with Session(engine) as session:
        session.add(City(name=name, country=country))
        after_commit(session, cities.refresh, country)
        session.commit()
    later.pop().start()


print(cities("is"), cities("is"), cities("no"), queries)
add("Reykjavik", "is")
assert refreshed.wait(30)
print(cities("is"), cities("no"), queries)
refreshed.clear()
add("Akureyri", "is")
assert refreshed.wait(30)
with Session(engine) as session:
    after_commit(session, cities.refresh, "no")
    session.add(City(name="Oslo", country="no"))
    session.rollback()
print(cities("is"), cities("no"), sorted(queries), len(later))
