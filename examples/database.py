"""Accounts on the database handle: statements, rows, transactions, a deadline that stops a statement."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import cenote

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


@dataclass
class Account:
    """A row of the table."""

    owner: str
    balance: int


def transfer(db: cenote.DB, giver: str, taker: str, amount: int) -> None:
    with db.begin(timeout="5s") as tx:
        tx.exec("update accounts set balance = balance - ? where owner = ?", amount, giver)
        tx.exec("update accounts set balance = balance + ? where owner = ?", amount, taker)
        if tx.query_row("select balance from accounts where owner = ?", giver).balance < 0:
            raise ValueError(f"{giver} has not got {amount}")


def main(url: str) -> None:
    with cenote.open(url, max_open=4) as db:
        db.exec("create table if not exists accounts (owner text primary key, balance integer)")
        db.exec_many("insert or replace into accounts values (?, ?)", [("Ann", 30), ("Ben", 5)])
        transfer(db, "Ann", "Ben", 20)
        try:
            transfer(db, "Ann", "Ben", 20)
        except ValueError as error:
            print(f"rolled back: {error}")
        for account in db.query("select * from accounts order by owner").as_type(Account):
            print(account)
        try:
            db.query_row(ENDLESS, timeout="100ms")
        except cenote.PoolTimeout as error:
            print(f"{error.phase}: {error}")
        stats = db.stats()
        print(f"{stats.connect_count} connections opened, {stats.in_use} in use")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://")
