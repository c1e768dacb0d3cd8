"""A board driven by hand, call by call: what neither time nor threads can arrange."""

from mammofast.pipeline import Budget, Hold, Stage, each
from mammofast.pipeline.board import Board
from mammofast.pipeline.virtual import Server, VirtualTime
from tests.pipeline.toy import Calls, Image, image_of, stages, truth

SIZE = 10


def whole(name, **options):
    return Stage(name=name, work=each(lambda item: item), **options)


def pairs(name, **options):
    """A stage with two units an image."""
    return Stage(
        name=name,
        split=lambda item: [(item, 0), (item, 1)],
        work=each(lambda unit: unit),
        join=lambda item, found: item,
        **options,
    )


def started(board, run, *images):
    for index, image in enumerate(images):
        board.offer(board.ticket(run, index, image))


def bring_on(board, tickets):
    for ticket in tickets:
        board.moved(ticket, board.step(ticket))


def budgeted(given, total=100, size=lambda image: SIZE):
    budget = Budget(total)
    return Board(given, [Hold(budget, size)]), budget


def test_who_gives_up_leaves_nothing_waiting_and_holds_nothing():
    board, budget = budgeted([whole("a", room=4), whole("b")])
    run, other = board.open(), board.open()
    started(board, run, "x", "y", "z")
    started(board, other, "w")
    assert budget.taken == 4 * SIZE
    board.close(run)
    assert budget.taken == SIZE
    task = board.task(0)
    assert [ticket.item for ticket, _ in task.parts] == ["w"]
    assert board.task(0) is None
    bring_on(board, board.finish(task.run()))
    assert not board.is_empty  # in b
    bring_on(board, board.finish(board.task(1).run()))
    assert board.is_empty
    assert [outcome.item for outcome in other.outcomes] == ["w"]
    assert not run.outcomes


def test_who_gives_up_gets_memory_back_once_nobody_works_on_it():
    board, budget = budgeted([whole("a")])
    run = board.open()
    started(board, run, "x")
    task = board.task(0)
    board.close(run)
    assert budget.taken == SIZE
    assert board.finish(task.run()) == []
    assert budget.taken == 0
    assert board.is_empty


def test_who_gives_up_while_an_image_is_between_stages():
    board, budget = budgeted([whole("a"), whole("b")])
    run = board.open()
    started(board, run, "x")
    (ticket,) = board.finish(board.task(0).run())
    step = board.step(ticket)
    board.close(run)
    assert budget.taken == SIZE  # its join may still read what it holds
    board.moved(ticket, step)
    assert budget.taken == 0
    assert board.is_empty
    assert board.task(1) is None


def test_an_image_that_waits_to_enter_is_forgotten_with_its_run():
    board, budget = budgeted([whole("a", room=1)])
    run, other = board.open(), board.open()
    started(board, run, "x", "y")
    assert run.offered is not None
    started(board, other, "z")
    board.close(run)
    assert board.task(0).parts[0][0].item == "z"
    assert budget.taken == SIZE


def test_a_failed_image_is_worked_on_no_more_and_holds_its_memory_until_then():
    board, budget = budgeted([whole("a"), pairs("b", workers=2)])
    run = board.open()
    started(board, run, "x")
    bring_on(board, board.finish(board.task(0).run()))
    first, second = board.task(1), board.task(1)

    def fails(units):
        raise KeyError("x")

    object.__setattr__(first.stage, "work", fails)
    assert board.finish(first.run()) == []
    assert not run.outcomes
    assert budget.taken == SIZE
    assert board.finish(second.run()) == []
    (outcome,) = run.outcomes
    assert outcome.error == "internal: KeyError"
    assert budget.taken == 0


def test_the_other_units_of_a_failed_image_are_left():
    calls = Calls()

    def around(name, work):
        def fails(units):
            if name == "segment" and image_of(units[0]).name == 1:
                raise KeyError("x")
            return work(units)

        return calls(name, fails)

    images = [Image(name, candidates=6) for name in range(3)]
    timeline = VirtualTime().run([Board(stages(around))], [images])
    found = {each.index: each.error or each.item for each in timeline.outcomes[0]}
    assert found == {0: truth(images[0]), 1: "internal: KeyError", 2: truth(images[2])}
    assert calls.of("segment").count((1,)) == 1


def test_who_came_first_enters_first():
    board, _ = budgeted([whole("a", room=1)])
    first, second, third = (board.open() for _ in range(3))
    for run, name in ((first, "x"), (second, "y"), (third, "z")):
        started(board, run, name)
    order = []
    for _ in range(3):
        task = board.task(0)
        order.append(task.parts[0][0].item)
        bring_on(board, board.finish(task.run()))
    assert order == ["x", "y", "z"]


def test_a_small_image_does_not_overtake_a_large_one():
    board, budget = budgeted([whole("a", room=9)], total=40, size=lambda image: image)
    runs = [board.open() for _ in range(3)]
    for run, size in zip(runs, (20, 40, 10), strict=True):
        started(board, run, size)
    assert budget.taken == 20
    assert board.finish(board.task(0).run())[0].item == 20
    assert [run.offered is None for run in runs] == [True, False, False]


def test_a_full_stage_waits_for_the_call_at_work():
    """Images will leave with it, and others come: the batch may yet be filled."""
    clock, gpu, sizes = VirtualTime(), Server("gpu", 5), []

    def work(units):
        sizes.append(len(units))
        clock.spend(gpu, 10.0)
        return units

    given = [whole("read"), Stage(name="detect", work=work, batch=2, workers=2, room=3)]
    clock.run([Board(given)], [range(10)])
    assert sizes == [2] * 5


def test_samples_say_how_many_wait():
    seen = []
    board = Board([whole("a", room=3)], sample=lambda name, value: seen.append((name, value)))
    started(board, board.open(), "x", "y")
    board.task(0)
    assert [value for name, value in seen if name == "waiting for a"] == [1, 2, 1]
    assert [value for name, value in seen if name == "images in the pipeline"] == [1, 2]
