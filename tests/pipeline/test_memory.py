import pytest

from mammofast.pipeline import Budget, Pool


def test_a_budget_lends_what_it_has_and_no_more():
    budget = Budget(10)
    first = budget.take(6)
    assert budget.take(5) is None
    assert budget.taken == 6
    second = budget.take(4)
    assert (budget.taken, budget.peak) == (10, 10)
    first.give_back()
    assert budget.taken == 4
    second.give_back()
    assert (budget.taken, budget.peak) == (0, 10)


def test_what_is_given_back_twice_is_an_error_and_counts_once():
    budget = Budget(10)
    lease, _ = budget.take(4), budget.take(4)
    lease.give_back()
    with pytest.raises(RuntimeError, match="given back twice"):
        lease.give_back()
    assert budget.taken == 4


def test_an_image_that_never_fits_is_known():
    assert Budget(10).suffices(10)
    assert not Budget(10).suffices(11)
    assert Budget(0).take(0) is not None
    assert Pool("ab").suffices(1)


def test_a_pool_lends_each_buffer_to_one():
    pool = Pool(["a", "b"])
    leases = [pool.take(), pool.take()]
    assert {lease.value for lease in leases} == {"a", "b"}
    assert pool.taken == 2
    assert pool.take() is None
    leases[0].give_back()
    assert pool.take().value == leases[0].value


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="total: got -1"):
        Budget(-1)
    with pytest.raises(ValueError, match="amount: got -1"):
        Budget(1).take(-1)
    with pytest.raises(ValueError, match="buffers: got none"):
        Pool([])
