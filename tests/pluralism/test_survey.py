"""Votes read from files, with an error for each way they can be wrong, and users recovered from them."""

import gzip
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from distalign.checks import InputError
from distalign.pluralism import survey_fit
from distalign.pluralism.sources import survey
from distalign.pluralism.sources.votes import Votes, load_votes
from distalign.pluralism.survey_fit import fit_users

GOOD = "user,first,second,vote\nann,tea,milk,first\nbob,milk,tea,second\nann,milk,beer,equal\n"


def write(folder, text):
    path = folder / "votes.csv"
    path.write_text(text)
    return path


def test_votes_are_coded(tmp_path):
    votes = load_votes(write(tmp_path, GOOD))
    assert votes.items == ("beer", "milk", "tea")
    assert votes.users == ("ann", "bob")
    assert votes.user.tolist() == [0, 1, 0]
    assert votes.first.tolist() == [2, 1, 1]
    assert votes.second.tolist() == [1, 2, 0]
    assert votes.score.tolist() == [1, 0, 0.5]


def test_worker_and_gzip_and_topic(tmp_path):
    path = tmp_path / "votes.csv.gz"
    text = "topic,worker,first,second,vote\nx,1,a,b,first\ny,2,c,d,second\n"
    path.write_bytes(gzip.compress(text.encode()))
    assert load_votes(path, "y").items == ("c", "d")
    with pytest.raises(InputError, match="2 topics"):
        load_votes(path)
    with pytest.raises(InputError, match="topic 'yy' is not in"):
        load_votes(path, "yy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,first,vote\nann,tea,first\n", r"no column 'second'; it has 'user', 'first', 'vote'"),
        ("who,first,second,vote\nann,tea,milk,first\n", r"no column 'user'; it has 'who'"),
        (GOOD.replace("equal", "hm"), "got 'hm' in line 4: --values hm=first"),
        (GOOD.replace("bob", ""), "column 'user' is empty in line 3"),
        (GOOD.replace("milk,beer", "milk,milk"), "'milk' is compared with itself"),
        ("user,first,second,vote\nann,a,b,first\nann,c,d,first\n", "2 groups"),
        ("user,first,second,vote\n", "no rows"),
        ("", "cannot be read"),
    ],
)
def test_bad_files_are_explained(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_votes(write(tmp_path, text))


def test_a_missing_file_and_a_topic_without_a_column(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_votes(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no column 'topic'"):
        load_votes(write(tmp_path, GOOD), "x")


def sampled_votes(rng, utilities, count):
    """`count` votes of each user on random pairs, one in ten of them "equal"."""
    people, size = utilities.shape
    user = np.repeat(np.arange(people), count)
    first = rng.integers(size, size=len(user))
    second = (first + rng.integers(1, size, size=len(user))) % size
    score = (rng.random(len(user)) < expit(utilities[user, first] - utilities[user, second])).astype(float)
    score[rng.random(len(user)) < 0.1] = 0.5
    return Votes(user, first, second, score, tuple(map(str, range(people))), tuple(map(str, range(size))))


def recovery_error(count):
    rng = np.random.default_rng(0)
    truth = 2 * rng.standard_normal(6) + rng.standard_normal((20, 6))
    fitted = fit_users(sampled_votes(rng, truth, count)).users
    centred = fitted.bt_temperature * fitted.utilities
    return np.sqrt(
        np.mean((centred - centred.mean(1, keepdims=True) - truth + truth.mean(1, keepdims=True)) ** 2)
    )


def test_users_are_recovered_as_votes_grow():
    errors = [recovery_error(count) for count in (10, 100, 1000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.45  # "equal" votes, one in ten, shrink the utilities a little for ever


def test_differences_between_users_predict_better_only_where_there_are_any():
    rng = np.random.default_rng(1)
    common = 2 * rng.standard_normal(6)
    diverse = fit_users(sampled_votes(rng, common + 2 * rng.standard_normal((20, 6)), 100))
    alike = fit_users(sampled_votes(rng, np.tile(common, (20, 1)), 100))
    assert diverse.held_out > diverse.held_out_single + 0.05
    assert diverse.own_penalty <= 1
    assert alike.own_penalty > 30  # the grid was widened: there is nothing to tell users apart
    assert abs(alike.held_out - alike.held_out_single) < 0.01


def test_one_common_scale():
    fitted = fit_users(
        sampled_votes(np.random.default_rng(2), np.random.default_rng(3).standard_normal((10, 5)), 50)
    )
    utilities = fitted.users.utilities
    np.testing.assert_array_equal(utilities.min(1), 0)
    assert utilities.max() == 1
    assert (utilities.max(1) < 1).sum() == 9  # nobody is normalised on his own
    assert fitted.certificate < 1e-2


def test_the_fit_is_a_stationary_point():
    """The gradient written out vote by vote vanishes at the answer."""
    votes = sampled_votes(np.random.default_rng(4), np.random.default_rng(5).standard_normal((4, 3)), 30)
    fitted = fit_users(votes)
    u = fitted.users.bt_temperature * fitted.users.utilities
    gradient = np.zeros_like(u)
    for k, x, y, v in zip(votes.user, votes.first, votes.second, votes.score, strict=True):
        pull = expit(u[k, x] - u[k, y]) - v
        gradient[k, x] += pull
        gradient[k, y] -= pull
    # kappa d_k = -gradient_k and rho r = -sum_k gradient_k give u_k up to a constant
    again = -gradient / fitted.own_penalty - gradient.sum(0) / fitted.common_penalty
    np.testing.assert_allclose(again - again.mean(1, keepdims=True), u - u.mean(1, keepdims=True), atol=1e-3)


def test_votes_without_preference_and_too_few_votes():
    empty = Votes(np.zeros(6, int), np.zeros(6, int), np.ones(6, int), np.full(6, 0.5), ("a",), ("x", "y"))
    with pytest.raises(InputError, match="no preference"):
        fit_users(empty)
    with pytest.raises(InputError, match="folds"):
        fit_users(empty, folds=7)


def test_real_votes(data_folder):
    folder = data_folder / "ukp_convarg1"
    topic = "ban-plastic-water-bottles_no-bad-for-the-economy"
    votes = load_votes(folder / "votes.csv.gz", topic)
    raw = pd.read_csv(folder / "votes.csv.gz").query("topic == @topic")
    assert len(votes.score) == len(raw)
    assert (votes.score == 0.5).sum() == (raw.vote == "equal").sum()
    fitted = fit_users(votes)
    assert fitted.held_out > fitted.held_out_single > np.log(0.5)
    assert fitted.users.utilities.shape == (len(votes.users), len(votes.items))


def test_only_pairs_that_were_seen_are_parameters_and_nothing_is_lost():
    """The optimum over all users and items, by another minimiser, has zeros where nothing was seen."""
    votes = sampled_votes(np.random.default_rng(6), np.random.default_rng(7).standard_normal((6, 30)), 4)
    problem = survey_fit._problem(survey_fit._by_user(votes), own=True)
    seen = problem.design.seen
    assert problem.design.parameters == 30 + len(seen) < 30 + 6 * 30 / 2
    rho, kappa = 0.5, 2.0
    x, certificate = survey_fit._fit(problem, (rho, kappa), np.zeros(30 + len(seen)), 1e-9)
    assert certificate <= 1e-9

    def objective(flat):
        r, d = flat[:30], flat[30:].reshape(6, 30)
        u = r + d
        t = u[votes.user, votes.first] - u[votes.user, votes.second]
        likelihood = votes.score * log_expit(t) + (1 - votes.score) * log_expit(-t)
        return rho / 2 * r @ r + kappa / 2 * (d**2).sum() - likelihood.sum()

    everything = np.zeros(210)
    everything[:30], everything[30 + seen] = x[:30], x[30:]
    best = minimize(objective, np.zeros(210), method="L-BFGS-B", options={"maxfun": 10**6, "gtol": 1e-9})
    assert objective(everything) <= best.fun + 1e-9
    np.testing.assert_allclose(everything, best.x, atol=2e-4)


def test_votes_of_one_user_on_one_pair_share_a_fold():
    user, first, second = np.array([0, 1, 0, 0]), np.array([1, 1, 2, 1]), np.array([2, 2, 1, 0])
    votes = Votes(user, first, second, np.ones(4), ("a", "b"), ("x", "y", "z"))
    assert survey_fit._first_of_repeats(votes).tolist() == [0, 1, 0, 3]


def test_a_fit_is_kept_and_a_damaged_one_is_made_again(tmp_path, monkeypatch):
    votes = sampled_votes(np.random.default_rng(8), np.random.default_rng(9).standard_normal((5, 4)), 20)
    first = survey._stored_fit(votes, 0, tmp_path)
    (path,) = tmp_path.glob("fit-*.npz")
    with monkeypatch.context() as patched:
        patched.setattr(survey, "fit_users", None)
        kept = survey._stored_fit(votes, 0, tmp_path)
    np.testing.assert_array_equal(kept.users.utilities, first.users.utilities)
    assert (kept.own_penalty, kept.certificate) == (first.own_penalty, first.certificate)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    again = survey._stored_fit(votes, 0, tmp_path)
    np.testing.assert_array_equal(again.users.utilities, first.users.utilities)
    assert path.read_bytes() == whole
    path.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(survey, "fit_users", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            survey._stored_fit(votes, 0, tmp_path)
    with monkeypatch.context() as patched:  # the cross-validation of a killed fit is not made again
        patched.setattr(survey, "choose_penalties", None)
        survey._stored_fit(votes, 0, tmp_path)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]  # nothing that no one reads


def test_penalties_of_many_votes_are_chosen_on_whole_users(monkeypatch):
    votes = sampled_votes(np.random.default_rng(3), np.random.default_rng(4).standard_normal((40, 4)), 10)
    assert survey_fit.fit_users(votes).dealt == 400
    monkeypatch.setattr(survey_fit, "LARGEST_DEALT", 120)
    some = survey_fit._some_users(survey_fit._by_user(votes), np.random.default_rng(0))
    assert len(some.users) == 12
    assert (np.bincount(some.user) == 10).all()
    fitted = survey_fit.fit_users(votes)
    assert fitted.dealt == 120
    assert fitted.users.utilities.shape == (40, 4)  # the users themselves are fitted to all votes


def test_blocks_of_users_change_no_parameter(monkeypatch):
    votes = survey_fit._by_user(
        sampled_votes(np.random.default_rng(5), np.random.default_rng(6).standard_normal((9, 7)), 4)
    )
    whole = survey_fit._design(votes, own=True)
    monkeypatch.setattr(survey_fit, "CELLS", 15)  # two users at a time
    parts = survey_fit._design(votes, own=True)
    for name in ("own_first", "own_second", "seen"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    x, v = (
        np.random.default_rng(7).standard_normal((2, whole.parameters))[0],
        np.arange(len(votes.score)) - 3.0,
    )
    assert whole.differences(x) @ v == pytest.approx(x @ whole.summed(v))  # one is the other's transpose


def counted_fit(votes, penalty, patched):
    """The bound of a fit to 1e-9, the parameters, and how often the objective and a product were computed."""
    problem, counts = survey_fit._problem(votes, own=True), dict.fromkeys(("loss", "differences"), 0)

    def counting(kind, name):
        plain = getattr(kind, name)

        def count(*given):
            counts[name] += 1
            return plain(*given)

        patched.setattr(kind, name, count)

    counting(survey_fit._Problem, "loss")
    counting(survey_fit._Design, "differences")
    x, bound = survey_fit._fit(problem, penalty, np.zeros(problem.design.parameters), 1e-9)
    return bound, x, counts


def coin_votes(seed, n, users, items, weight=1.0):
    """Votes by coin, on pairs of the first half of the items or of the second."""
    rng, half = np.random.default_rng(seed), items // 2
    user, first = np.sort(rng.integers(users, size=n)), rng.integers(items, size=n)
    second = first // half * half + (first + rng.integers(1, half, size=n)) % half
    names = tuple(map(str, range(users))), tuple(map(str, range(items)))
    return Votes(user, first, second, rng.integers(2, size=n) * 1.0, *names, np.full(n, weight))


def test_rounding_of_a_large_objective_does_not_stop_the_fit(monkeypatch):
    """The objective is so large that the gain of the last steps is lost in it."""
    votes, found = coin_votes(1, 60_000, 3000, 20), []
    for rounding in (survey_fit.ROUNDING, 0.0):  # without it steps are halved until the noise lets them pass
        with monkeypatch.context() as patched:
            patched.setattr(survey_fit, "ROUNDING", rounding)
            bound, _, counts = counted_fit(votes, (1.0, 3.0), patched)
            found.append((bound, counts["loss"]))
    assert found[0][0] <= 1e-9
    assert found[0][1] <= 10
    assert found[1][1] > 2 * found[0][1]


def test_a_constant_that_no_vote_sees_costs_no_steps(monkeypatch):
    """Of items that votes link, the mean of the common utilities has curvature rho and no more, beside a
    diagonal of all votes: conjugate gradients in single precision lose themselves in it.
    """
    votes, found = coin_votes(1, 20_000, 1000, 20, 1e4), []
    for changes in ({}, {"centre": lambda design, x: None}):
        with monkeypatch.context() as patched:
            for name, value in changes.items():
                patched.setattr(survey_fit._Design, name, value)
            bound, x, counts = counted_fit(votes, (1.0, 3e4), patched)
            found.append(counts["differences"])
            if not changes:
                assert bound <= 1e-9
                assert np.abs(x[:20].reshape(2, 10).mean(1)).max() < 1e-12
    assert found[0] <= 60
    assert found[1] > 2 * found[0]
