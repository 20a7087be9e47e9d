from weft_worker.agent.commands import MAX_REMEMBERED, CommandLedger, Refuse, Repeat, Start


def install(ledger: CommandLedger, operation: str, generation: int = 1, replica: str = "") -> object:
    return ledger.decide_install(
        operation_id=operation, replica_id=replica or f"r-{operation}", generation=generation
    )


def test_an_operation_starts_once_and_is_repeated_after() -> None:
    ledger = CommandLedger()
    assert [install(ledger, "a"), install(ledger, "a")] == [Start(), Repeat("r-a")]


def test_a_command_older_than_the_last_one_obeyed_is_refused() -> None:
    ledger = CommandLedger()
    install(ledger, "a", generation=5)
    assert isinstance(install(ledger, "b", generation=4), Refuse)
    assert install(ledger, "c", generation=5) == Start()


def test_a_refused_command_is_forgotten() -> None:
    ledger = CommandLedger(newest=5)
    install(ledger, "a", generation=4)
    assert install(ledger, "a", generation=6) == Start()


def test_a_known_operation_is_repeated_even_when_its_generation_is_old() -> None:
    ledger = CommandLedger()
    install(ledger, "a", generation=1)
    ledger.obey(9)
    assert install(ledger, "a", generation=1) == Repeat("r-a")


def test_an_adopted_operation_is_repeated() -> None:
    ledger = CommandLedger()
    ledger.remember("a", "r-a")
    assert install(ledger, "a") == Repeat("r-a")


def test_a_replica_belongs_to_one_operation() -> None:
    ledger = CommandLedger()
    install(ledger, "a", replica="r")
    assert install(ledger, "b", replica="r") == Refuse("replica r belongs to another operation")


def test_a_replica_id_that_is_no_file_name_is_refused() -> None:
    for replica in ("../../etc/passwd", ".hidden", "a/b", "a\n", "x" * 129):
        assert isinstance(install(CommandLedger(), "a", replica=replica), Refuse)


def test_obeying_never_goes_back_but_another_identity_does() -> None:
    ledger = CommandLedger()
    ledger.obey(7)
    ledger.obey(3)
    assert (ledger.admits(6), ledger.admits(7)) == (False, True)
    ledger.rebase(1)
    assert ledger.admits(1)


def test_old_operations_are_forgotten() -> None:
    ledger = CommandLedger()
    for number in range(MAX_REMEMBERED + 1):
        install(ledger, str(number))
    assert install(ledger, str(MAX_REMEMBERED)) == Repeat(f"r-{MAX_REMEMBERED}")
    assert install(ledger, "0") == Start()
